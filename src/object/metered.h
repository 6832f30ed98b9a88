// Counts what passes through a store.
#pragma once

#include <atomic>
#include <memory>

#include "object/store.h"

namespace thaw {

// Thread-safe counters; relaxed, so read them when the work is over.
struct StoreMeter {
  std::atomic<uint64_t> gets{0}, puts{0}, finds{0}, lists{0}, removes{0}, errors{0};
  std::atomic<uint64_t> refused{0};  // of the errors, those with Code::invalid
  std::atomic<uint64_t> fetched_bytes{0}, stored_bytes{0};
  uint64_t requests() const { return gets + puts + finds + lists + removes; }
};

// `meter` outlives the store. not_found counts as an answer, not as an error.
std::unique_ptr<ObjectStore> metered(std::unique_ptr<ObjectStore> store, StoreMeter& meter);

}  // namespace thaw
