// Goldens and the store: a generation becomes a snapshot, and a snapshot a generation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "format/key.h"
#include "golden/place.h"
#include "object/store.h"
#include "snapshot/progress.h"
#include "snapshot/restore.h"
#include "snapshot/save.h"

namespace thaw::golden {

// Where a golden's snapshots are, unless somebody says otherwise: "golden/NAME".
Result<Key> default_key(const Name& name);

struct Published {
  uint64_t generation = 0;  // of the golden
  Key key;
  uint64_t store_generation = 0;
  std::string snapshot{};
  bool unchanged = false;  // the newest snapshot of the key was that already
  uint64_t new_bytes = 0;
};

// Saves the current generation as the next snapshot of `request.key`, and notes its id. Of the
// request the path and the policy do not count: what is current was judged. `if_current` is
// refused (`exists`) where it is not current any more; 0: any is. Errors: not_found (there is no
// generation), busy (a lock), and those of save(). `progress` may be null.
Result<Published> publish(const Context& context, const Place& place, uint64_t if_current,
                          ObjectStore& store, SaveRequest request, Progress* progress);

enum class Freshness {
  any,     // whatever this machine has is good
  newest,  // also where the store's newest snapshot is none of this machine's generations
};

struct FetchRequest {
  Name name;
  Key key;
  Freshness freshness = Freshness::any;
  double min_free = 0;  // share of the golden root's filesystem
  std::optional<std::string> damage_dir{};
  unsigned threads = 1;
  StoreDistance distance = StoreDistance::local;
};

struct FetchReport {
  bool fetched = false;           // else it was there, or another process fetched it
  uint64_t generation = 0;        // the current one
  uint64_t store_generation = 0;  // of what was fetched
  uint64_t fetched_bytes = 0;
};

// One process fetches, the others wait for it as long as the context lasts. Errors: not_found
// (neither this machine nor the store has it; nothing is left behind), exhausted (min_free), and
// those of restore(). `progress` may be null.
Result<FetchReport> fetch(const Context& context, const Root& root, ObjectStore& store,
                          const FetchRequest& request, const WallClock& clock, Progress* progress);

}  // namespace thaw::golden
