// What a tier did: counters and a histogram of latencies.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace thaw {

// Latencies by powers of two: bucket i counts those below 2^i microseconds, and the last the rest.
class LatencyHistogram {
 public:
  static constexpr size_t kBuckets = 26;  // up to 33 s
  void add(std::chrono::nanoseconds latency);
  // The upper bound, in microseconds, of the bucket that holds this share (0 to 1) of all; 0: none.
  uint64_t quantile_us(double share) const;
  uint64_t count() const;

 private:
  std::array<std::atomic<uint64_t>, kBuckets> buckets_{};
};

// Thread-safe counters; relaxed, so read them when the work is over.
struct TierMeter {
  std::atomic<uint64_t> hits{0}, misses{0};  // blocks
  std::atomic<uint64_t> shared{0};           // blocks that another thread's fetch brought
  std::atomic<uint64_t> hit_bytes{0};        // taken from the tier
  std::atomic<uint64_t> miss_bytes{0};       // fetched from below
  std::atomic<uint64_t> fills{0}, filled_bytes{0}, fills_dropped{0}, fills_failed{0};
  std::atomic<uint64_t> evicted{0}, evicted_bytes{0};  // blocks that made room for others
  std::atomic<uint64_t> corrupt{0};                    // blocks that were not what they said
  std::atomic<uint64_t> failures{0};        // reads of the tier that failed or came too late
  std::atomic<uint64_t> stepped_over{0};    // blocks that were not asked for: the breaker was open
  std::atomic<uint64_t> notes{0};           // uses, fills and removals that the index was told of
  std::atomic<uint64_t> notes_dropped{0};   // it was not told of these
  std::atomic<uint64_t> index_failures{0};  // batches of notes that it did not take
  std::atomic<uint64_t> index_rebuilt{0};   // times that it was damaged, and emptied
  LatencyHistogram hit_latency;
};

}  // namespace thaw
