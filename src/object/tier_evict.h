// Removes blocks from a tier, but for those that somebody uses.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "object/block_claims.h"
#include "object/recency_index.h"
#include "object/store.h"

namespace thaw {

// A tier, seen by who cleans it. What it points to outlives it.
struct CleanedTier {
  ObjectStore* fast = nullptr;
  RecencyIndex* index = nullptr;  // may be null
  BlockClaims* claims = nullptr;  // may be null
};

// A block that may go. `last_use` is what the index said when it was chosen; empty: it did not know
// the block, and a use that it knows of by now keeps it.
struct ColdBlock {
  ObjectKey block;
  std::optional<Timestamp> last_use;
  uint64_t bytes = 0;
};

struct Evicted {
  uint64_t blocks = 0;
  uint64_t bytes = 0;
  uint64_t recent = 0;   // kept: used since they were chosen
  uint64_t claimed = 0;  // kept: somebody fetches them at this moment
};

// First the index is asked once more, then the blocks are removed, and only then the index forgets
// them: a crash leaves blocks in the index that are not there, never the other way round. `now` is
// when that begins. An error of the index or the tier; what was removed by then is removed.
Result<Evicted> evict_unused(const Context& context, const CleanedTier& tier,
                             std::span<const ColdBlock> blocks, Timestamp now);

// The blocks of a tier that were written first, as a listing tells, when nobody knows of their
// uses. Memory is bounded by `most`, whatever the tier holds.
class OldestBlocks {
 public:
  explicit OldestBlocks(size_t most) : most_(most) {}
  void offer(const Listed& block);
  // The oldest first. It is empty afterwards.
  std::vector<ColdBlock> take();

 private:
  struct Aged {
    Timestamp modified;
    ColdBlock block;
    bool operator<(const Aged& other) const { return modified < other.modified; }
  };
  const size_t most_;
  std::vector<Aged> heap_;  // the youngest of them in front
};

}  // namespace thaw
