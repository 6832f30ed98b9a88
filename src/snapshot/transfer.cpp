#include "snapshot/transfer.h"

#include <algorithm>

namespace thaw {
namespace {

// Stop flags wake nobody (a signal handler may set them), so the wait looks at them now and then.
constexpr std::chrono::milliseconds kStep{20};
constexpr uint64_t kMiB = 1024 * 1024;

}  // namespace

TransferLimits transfer_limits(StoreDistance distance) {
  // Two requests hide a disk's latency; more would only hold memory.
  if (distance == StoreDistance::local) return {2, 2, 48 * kMiB, 2};
  // Sixteen, short to begin with (fetch_plan.h), keep two cores busy from the first round trip on
  // at 40 MB/s a connection; the budget bounds what more may do.
  return {16, 32, 96 * kMiB, 6};
}

std::chrono::milliseconds farewell_time(const Context& context) {
  return context.alive() ? std::chrono::seconds(2) : std::chrono::milliseconds(120);
}

TransferGate::TransferGate(unsigned first, unsigned most)
    : most_(std::max(most, 1U)), limit_(std::clamp(first, 1U, most_)) {}

Result<> TransferGate::enter(const Context& context) {
  std::unique_lock lock(mutex_);
  while (inside_ >= limit_) {
    THAW_CHECK(context.alive());
    freed_.wait_for(lock, kStep);
  }
  ++inside_;
  return {};
}

void TransferGate::leave(uint64_t bytes, bool overloaded, Clock::time_point now) {
  {
    const std::lock_guard lock(mutex_);
    --inside_;
    if (window_began_ == Clock::time_point()) window_began_ = now;
    ++window_requests_;
    window_bytes_ += bytes;
    if (overloaded) {
      limit_ = std::max(limit_ / 2, 1U);
      best_rate_ = 0;
      window_requests_ = 0;
      window_bytes_ = 0;
      window_began_ = now;
    } else if (window_requests_ > limit_) {
      judge_window(now);
    }
  }
  freed_.notify_all();
}

// As many requests as may be under way have come to their end.
void TransferGate::judge_window(Clock::time_point now) {
  const double seconds = std::chrono::duration<double>(now - window_began_).count();
  const double rate = static_cast<double>(window_bytes_) / std::max(seconds, 1e-6);
  if (rate > best_rate_ * 1.1) {
    best_rate_ = rate;
    limit_ = std::min(limit_ + std::max(limit_ / 2, 1U), most_);
  } else if (rate < best_rate_ * 0.7) {
    limit_ = std::max(limit_ - limit_ / 4, 1U);
    // What the link once gave need not be what it can.
    best_rate_ *= 0.9;
  }
  window_requests_ = 0;
  window_bytes_ = 0;
  window_began_ = now;
}

unsigned TransferGate::limit() const {
  const std::lock_guard lock(mutex_);
  return limit_;
}

}  // namespace thaw
