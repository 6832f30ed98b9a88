#include "object/tier_meter.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace thaw {

void LatencyHistogram::add(std::chrono::nanoseconds latency) {
  const auto us = static_cast<uint64_t>(std::max<int64_t>(latency.count(), 0)) / 1000;
  const auto bucket = static_cast<size_t>(std::bit_width(us));  // below 2^bucket
  buckets_[std::min(bucket, kBuckets - 1)].fetch_add(1, std::memory_order_relaxed);
}

uint64_t LatencyHistogram::count() const {
  uint64_t all = 0;
  for (const auto& bucket : buckets_) all += bucket.load(std::memory_order_relaxed);
  return all;
}

uint64_t LatencyHistogram::quantile_us(double share) const {
  const uint64_t all = count();
  if (all == 0) return 0;
  const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(all));
  const auto rank = std::max<uint64_t>(static_cast<uint64_t>(wanted), 1);
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += buckets_[i].load(std::memory_order_relaxed);
    if (seen >= rank) return uint64_t{1} << i;
  }
  return uint64_t{1} << (kBuckets - 1);
}

}  // namespace thaw
