// TierUsage: how many bytes a tier without an index holds.
#pragma once

#include <cstdint>
#include <mutex>

#include "object/store.h"

namespace thaw {

// Counts what is there once, at the first question, and then what is added through it. Thread-safe;
// while one thread counts, others wait. `fast` outlives it.
class TierUsage {
 public:
  // `max_bytes` 0: no bound, and nothing is counted.
  TierUsage(ObjectStore& fast, uint64_t max_bytes) : fast_(fast), max_bytes_(max_bytes) {}

  // Whether so many bytes more have room; then they count as there. An error when the tier cannot
  // be listed; the next question tries again.
  Result<bool> take(const Context& context, uint64_t bytes);
  void give_back(uint64_t bytes);
  // As counted by somebody else.
  void set(uint64_t used_bytes);

 private:
  Result<> count(const Context& context);

  ObjectStore& fast_;
  const uint64_t max_bytes_;
  std::mutex mutex_;
  bool counted_ = false;
  uint64_t used_bytes_ = 0;
};

}  // namespace thaw
