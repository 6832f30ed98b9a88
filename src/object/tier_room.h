// TierRoom: keeps a tier within its bound while it is filled.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "object/tier_evict.h"
#include "object/tier_meter.h"
#include "object/tier_usage.h"

namespace thaw {

// Room is made by removing what was used longest ago, down to a low-water mark of 95%, by the one
// that wants to write and never by a reader. With an index a block is admitted *before* it is
// written, and room is made before that as well: the index's sum is never below what lies in the
// tier, so all processes together stay within the bound (each block that is being admitted at the
// same moment may pass it, until its own room is made). Without one this process counts for itself,
// and the blocks that were written first go. Thread-safe; what it is given outlives it.
class TierRoom {
 public:
  // `max_bytes` 0: no bound, and nothing is asked.
  TierRoom(const CleanedTier& tier, uint64_t max_bytes, const WallClock& clock, TierMeter& meter)
      : tier_(tier),
        max_bytes_(max_bytes),
        clock_(clock),
        meter_(meter),
        usage_(*tier.fast, max_bytes) {}

  // Whether the block may be written; then it counts as there, also in the index. False:
  // there is no room, and none can be made. An error when the index or the tier cannot tell.
  Result<bool> make(const Context& context, const ObjectKey& block, uint64_t bytes);
  // It was not written after all, or is gone again.
  void give_back(const Context& context, const ObjectKey& block, uint64_t bytes);

 private:
  Result<bool> make_by_index(const Context& context, const ObjectKey& block, uint64_t bytes);
  Result<> evict_coldest(const Context& context, const ObjectKey& but);
  Result<bool> make_by_age(const Context& context, uint64_t bytes);
  Result<> adopt_if_new(const Context& context);
  Result<> adopt(const Context& context);
  bool was_lost(const IndexUsage& usage);
  uint64_t low_water() const { return max_bytes_ - max_bytes_ / 20; }
  void count(const Evicted& evicted);

  const CleanedTier tier_;
  const uint64_t max_bytes_;
  const WallClock& clock_;
  TierMeter& meter_;
  TierUsage usage_;                // without an index
  std::mutex mutex_;               // of who makes room
  bool looked_ = false;            // at what the index knows; under the mutex
  std::atomic<uint64_t> seen_{0};  // blocks, at most, of which the index knew
};

}  // namespace thaw
