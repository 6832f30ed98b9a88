#include "base/context.h"

#include <algorithm>

namespace thaw {

Context Context::within(std::chrono::milliseconds timeout) const& {
  Context child;
  child.parent_ = this;
  // A time too long for the clock is no deadline ever reached.
  const auto now = Clock::now();
  const auto most = std::chrono::floor<std::chrono::milliseconds>(Clock::time_point::max() - now);
  child.deadline_ = now + std::clamp(timeout, std::chrono::milliseconds(0), most);
  if (deadline_) child.deadline_ = std::min(*deadline_, *child.deadline_);
  return child;
}

Context Context::with(const StopFlag& flag) const& {
  Context child;
  child.parent_ = this;
  child.flag_ = &flag;
  child.deadline_ = deadline_;
  return child;
}

bool Context::stopped() const {
  for (const Context* each = this; each != nullptr; each = each->parent_) {
    if (each->flag_ != nullptr && each->flag_->stopped()) return true;
  }
  return false;
}

Result<> Context::alive() const {
  if (stopped()) return Error(Code::cancelled, "stopped on request");
  if (deadline_ && Clock::now() >= *deadline_) return Error(Code::timeout, "the time is up");
  return {};
}

std::optional<std::chrono::milliseconds> Context::remaining() const {
  if (!deadline_) return std::nullopt;
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*deadline_ - Clock::now());
  return std::max(left, std::chrono::milliseconds(0));
}

}  // namespace thaw
