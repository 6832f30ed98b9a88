#include "object/tier_breaker.h"

#include <algorithm>

namespace thaw {

TierBreaker::TierBreaker(unsigned failures, std::chrono::milliseconds rest)
    : failures_(std::max(failures, 1U)),
      rest_(std::clamp<std::chrono::milliseconds>(rest, std::chrono::milliseconds(0),
                                                  std::chrono::hours(24))) {}

TierBreaker::Permit TierBreaker::enter(Time now) {
  const std::lock_guard lock(mutex_);
  if (state_ == State::closed) return Permit::go;
  if (state_ == State::probing || now < until_) return Permit::no;
  state_ = State::probing;
  return Permit::probe;
}

void TierBreaker::settle(Permit permit, Outcome outcome, Time now) {
  const std::lock_guard lock(mutex_);
  if (permit == Permit::probe) {
    // One answer is little: after an absence the next failure is enough to open it again.
    if (outcome == Outcome::absent) close(failures_ - 1);
    if (outcome == Outcome::failed) open(now);
    // The next reader probes.
    if (outcome == Outcome::unknown) state_ = State::open;
    if (outcome == Outcome::hit) close(0);
    if (outcome == Outcome::hit) factor_ = 1;
    return;
  }
  // What was asked before it opened says nothing new.
  if (permit == Permit::no || state_ != State::closed) return;
  if (outcome == Outcome::hit) {
    reads_failed_ = 0;
    fills_failed_ = 0;
    factor_ = 1;
  } else if (outcome == Outcome::absent) {
    reads_failed_ = 0;
  } else if (outcome == Outcome::failed && ++reads_failed_ >= failures_) {
    open(now);
  }
}

bool TierBreaker::is_closed() const {
  const std::lock_guard lock(mutex_);
  return state_ == State::closed;
}

// Says nothing of reads: a tier whose blocks come back damaged takes them without complaint.
void TierBreaker::filled() {
  const std::lock_guard lock(mutex_);
  fills_failed_ = 0;
}

void TierBreaker::fill_failed(Time now) {
  const std::lock_guard lock(mutex_);
  if (state_ == State::closed && ++fills_failed_ >= failures_) open(now);
}

void TierBreaker::open(Time now) {
  constexpr unsigned kMostFactor = 16;
  state_ = State::open;
  until_ = now + rest_ * factor_;
  factor_ = std::min(factor_ * 2, kMostFactor);
}

void TierBreaker::close(unsigned failures) {
  state_ = State::closed;
  reads_failed_ = failures;
  fills_failed_ = failures;
}

}  // namespace thaw
