// Context: the deadline and the stop signal of one piece of work, passed down everywhere.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>

#include "base/result.h"

namespace thaw {

// Set once, from any thread or from a signal handler; never unset.
class StopFlag {
 public:
  void stop() { stopped_.store(true, std::memory_order_relaxed); }
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

 private:
  static_assert(std::atomic<bool>::is_always_lock_free, "set from signal handlers");
  std::atomic<bool> stopped_{false};
};

// Immutable and thread-safe. A child holds a pointer to its parent and never outlives it.
class Context {
 public:
  using Clock = std::chrono::steady_clock;

  // A context without a deadline that nothing stops.
  Context() = default;
  // A root that `flag` stops.
  explicit Context(const StopFlag& flag) : flag_(&flag) {}

  // A child with its own deadline, never later than this one's.
  Context within(std::chrono::milliseconds timeout) const&;
  // A child that `flag` stops as well.
  Context with(const StopFlag& flag) const&;
  // A child of a temporary would dangle at once.
  Context within(std::chrono::milliseconds timeout) const&& = delete;
  Context with(const StopFlag& flag) const&& = delete;

  // An error (cancelled or timeout) once the work should end.
  Result<> alive() const;
  // The time left; empty when there is no deadline. Never negative.
  std::optional<std::chrono::milliseconds> remaining() const;
  std::optional<Clock::time_point> deadline() const { return deadline_; }

 private:
  bool stopped() const;

  const Context* parent_ = nullptr;
  const StopFlag* flag_ = nullptr;
  std::optional<Clock::time_point> deadline_;
};

}  // namespace thaw
