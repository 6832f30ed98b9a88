// A test's own environment variables and time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/environment.h"

namespace thaw::test {

using Variables = std::map<std::string, std::string>;

inline Environment environment_of(Variables variables) {
  return [variables = std::move(variables)](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end() || found->second.empty()) return std::nullopt;
    return found->second;
  };
}

// Stands still until it is stepped, and counts who looks. Thread-safe.
class StepClock final : public WallClock {
 public:
  explicit StepClock(Timestamp start) : now_(start) {}

  Timestamp now() const override {
    const std::lock_guard lock(mutex_);
    ++looks_;
    looked_.notify_all();
    return now_;
  }
  void step(std::chrono::nanoseconds time) {
    const std::lock_guard lock(mutex_);
    now_.ns += time.count();
  }
  uint64_t looks() const {
    const std::lock_guard lock(mutex_);
    return looks_;
  }
  // Returns once it was looked at so often; false when that takes too long.
  bool await_looks(uint64_t count, std::chrono::milliseconds patience) const {
    std::unique_lock lock(mutex_);
    return looked_.wait_for(lock, patience, [&] { return looks_ >= count; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable looked_;
  mutable uint64_t looks_ = 0;
  Timestamp now_;
};

}  // namespace thaw::test
