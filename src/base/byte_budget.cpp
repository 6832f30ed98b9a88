#include "base/byte_budget.h"

#include <algorithm>
#include <chrono>

namespace thaw {

ByteBudget::Reservation::~Reservation() {
  if (budget_ == nullptr) return;
  {
    const std::lock_guard lock(budget_->mutex_);
    budget_->held_ -= bytes_;
  }
  budget_->freed_.notify_all();
}

Result<ByteBudget::Reservation> ByteBudget::reserve(const Context& context, uint64_t bytes) {
  std::unique_lock lock(mutex_);
  while (held_ != 0 && (bytes > limit_ || held_ > limit_ - bytes)) {
    THAW_CHECK(context.alive());
    // Stop flags do not signal the condition, so look at them a few times a second.
    auto until = Context::Clock::now() + std::chrono::milliseconds(50);
    if (context.deadline()) until = std::min(until, *context.deadline());
    freed_.wait_until(lock, until);
  }
  held_ += bytes;
  return Reservation(this, bytes);
}

}  // namespace thaw
