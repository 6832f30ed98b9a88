// Questions about snapshots: list, compare, verify, remove.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "format/key.h"
#include "format/record.h"
#include "object/store.h"
#include "snapshot/progress.h"

namespace thaw {

// A key's newest generation; a fault instead where its entry cannot be read.
struct KeyListing {
  Key key;
  std::optional<Entry> newest;
  std::string fault;  // empty unless the entry is unreadable
};
// Keys without a live generation are left out.
Result<std::vector<KeyListing>> list_keys(const Context& context, ObjectStore& store,
                                          std::string_view prefix, unsigned threads);

// One snapshot in numbers.
struct Inspection {
  Entry entry;
  uint64_t manifest_bytes = 0;
  uint64_t packs = 0;
  uint64_t chunks = 0;
  uint64_t contents = 0;              // different files
  uint64_t stored_bytes = 0;          // frames that it uses
  uint64_t pack_bytes = 0;            // of the whole packs that hold them
  std::vector<uint64_t> generations;  // live ones of the key, newest first
};
// not_found when there is no such generation.
Result<Inspection> inspect(const Context& context, ObjectStore& store, const KeyRef& ref);

enum class Change { added, removed, content, metadata, type };
struct Difference {
  Change change;
  std::string path;
};
// In path order; "from" is the older side.
Result<std::vector<Difference>> diff(const Context& context, ObjectStore& store, const KeyRef& from,
                                     const KeyRef& to);

struct VerifyFault {
  std::string object;  // the object that is missing or corrupt
  std::string what;
};
struct VerifyReport {
  uint64_t snapshots = 0;
  uint64_t packs = 0;
  uint64_t bytes = 0;  // fetched
  std::vector<VerifyFault> faults;
};
class KnownDamage;
// Reads and checks every entry, manifest, pack and chunk that the snapshot (or, without `ref`, any
// live snapshot of the store) needs. What is damaged is read twice before it is a fault, and then
// remembered as damage. Faults are in the report; an error is what kept it from looking.
Result<VerifyReport> verify(const Context& context, ObjectStore& store,
                            const std::optional<KeyRef>& ref, unsigned threads,
                            const KnownDamage& damage, Progress* progress);

}  // namespace thaw
