// Survey: what lies in a store, as a collector has to know it. See docs/gc.md, "Who does what".
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "format/key.h"
#include "format/record.h"
#include "object/store.h"
#include "snapshot/condemned.h"
#include "snapshot/progress.h"

namespace thaw::gc {

// One generation of a key: an entry, or the tombstone of one.
struct GenerationFound {
  uint64_t generation = 0;
  Timestamp put;  // by the store's clock, as all times here
  bool live = false;
  std::optional<ManifestRef> manifest;  // where it is an object of its own
  std::vector<PackShare> packs;
  Labels labels;
};

struct KeyFound {
  Key key;
  std::vector<GenerationFound> generations;  // newest first
  std::optional<Timestamp> last_use;
  // Notes of refused saves that mean nothing any more: there is a newer generation.
  std::vector<ObjectKey> void_refusals;
};

struct LeaseFound {
  ObjectKey object;
  Timestamp put;
  Timestamp since;  // its holder has been at work since then
  Lease content;
};

// An object of a kind that may go.
struct ObjectFound {
  ObjectKey object;
  RandomId id;  // none for probes
  uint64_t size_bytes = 0;
  Timestamp put;
};

// Something that is not thaw's, or not where it belongs.
struct Unknown {
  uint64_t objects = 0;
  uint64_t bytes = 0;
  std::vector<std::string> examples;  // some names
};

// A condemned record, and who may sweep by it.
struct RecordFound {
  CondemnedRecord record;
  bool ours = false;                   // claimed by this run; for a look: nobody's
  std::optional<Timestamp> claimed{};  // by another run, then
};

struct Survey {
  Timestamp now;
  std::vector<RecordFound> condemned;
  std::vector<ObjectFound> stray_claims;   // on records that are gone
  std::vector<LeaseFound> leases;          // live ones
  std::vector<LeaseFound> expired_leases;  // removed by now, unless it was only a look
  std::set<RandomId> needed_by_leases;     // manifests and packs
  std::vector<KeyFound> keys;
  std::vector<ObjectFound> packs;
  std::vector<ObjectFound> manifests;
  std::vector<ObjectFound> probes;
  std::vector<ObjectKey> stray_uses;  // last uses of keys that have no generation at all
  Unknown unknown;
};

enum class Access {
  look,     // nothing is removed: for a plan that is only printed
  collect,  // expired leases are removed before the keys are listed
};

struct SurveyOptions {
  Access access = Access::look;
  Timestamp now;                  // the store's
  std::chrono::seconds grace{0};  // records that are older are claimed
  unsigned threads = 8;
};

// Condemned records and claims on them, then leases, then keys and entries, then packs and
// manifests: this order is what docs/gc.md argues with. An entry or a manifest's head that cannot
// be read is Code::corrupt: then nobody knows what is needed.
Result<Survey> survey(const Context& context, ObjectStore& store, const SurveyOptions& options,
                      Progress* progress);

// What different servers of one store may say of one moment, at most.
inline constexpr std::chrono::seconds kSkew{300};

}  // namespace thaw::gc
