// Invalidation: takes generations away, and then what tiers keep of them. See docs/gc.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "format/key.h"
#include "object/store.h"
#include "object/tier_evict.h"

namespace thaw::gc {

struct RemovedKey {
  Key key;
  std::vector<uint64_t> generations;  // newest first
};

struct Removal {
  std::vector<RemovedKey> keys;
  // Manifests and packs that the removed generations needed, and no generation that is left of the
  // same keys.
  std::vector<ObjectKey> objects;
};

// What removing would take: KEY@N, or all generations of KEY. Changes nothing.
Result<Removal> plan_removal(const Context& context, ObjectStore& store, const KeyRef& ref);
// The same for all keys that the prefix covers (whole segments).
Result<Removal> plan_removal_below(const Context& context, ObjectStore& store,
                                   std::string_view prefix);
// Puts the tombstones, of each key the oldest generation first. Answers how many there are more.
Result<uint64_t> execute(const Context& context, ObjectStore& store, const Removal& removal);

struct Dropped {
  uint64_t blocks = 0;
  uint64_t bytes = 0;
};
// Removes a tier's blocks of these objects, and of all raw objects that `raw_prefix` covers (empty:
// of none), of the store whose blocks lie in `folder` ("blocks/<16 digits>"); then its index
// forgets them. One LIST for each object and for the prefix, and a request for each 1,000 blocks.
Result<Dropped> drop_from_tier(const Context& context, const CleanedTier& tier,
                               const std::string& folder, const std::vector<ObjectKey>& objects,
                               std::string_view raw_prefix);

}  // namespace thaw::gc
