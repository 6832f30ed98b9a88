#include "object/tier_usage.h"

#include "object/listing.h"

#include <algorithm>

namespace thaw {

Result<bool> TierUsage::take(const Context& context, uint64_t bytes) {
  if (max_bytes_ == 0) return true;
  const std::lock_guard lock(mutex_);
  if (!counted_) THAW_CHECK(count(context).within("count what the tier holds"));
  if (bytes > max_bytes_ || used_bytes_ > max_bytes_ - bytes) return false;
  used_bytes_ += bytes;
  return true;
}

void TierUsage::give_back(uint64_t bytes) {
  if (max_bytes_ == 0) return;
  const std::lock_guard lock(mutex_);
  used_bytes_ -= std::min(bytes, used_bytes_);
}

void TierUsage::set(uint64_t used_bytes) {
  const std::lock_guard lock(mutex_);
  used_bytes_ = used_bytes;
  counted_ = true;
}

Result<> TierUsage::count(const Context& context) {
  uint64_t used_bytes = 0;
  THAW_CHECK(list_all(context, fast_, "blocks/",
                      [&](const Listed& each) { used_bytes += each.info.size_bytes; }));
  used_bytes_ = used_bytes;
  counted_ = true;
  return {};
}

}  // namespace thaw
