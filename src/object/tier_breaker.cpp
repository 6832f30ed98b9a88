#include "object/tier_breaker.h"

#include <algorithm>
#include <bit>

namespace thaw {
namespace {

// Twice as many calls are remembered, in 64 bits.
constexpr unsigned kMostFailures = 31;

}  // namespace

TierBreaker::TierBreaker(unsigned failures, std::chrono::milliseconds rest)
    : failures_(std::clamp(failures, 1U, kMostFailures)),
      rest_(std::clamp<std::chrono::milliseconds>(rest, std::chrono::milliseconds(0),
                                                  std::chrono::hours(24))),
      reads_(failures_),
      fills_(failures_) {}

TierBreaker::Recent::Recent(unsigned failures)
    : failures_(failures), mask_((uint64_t{1} << 2 * failures) - 1) {}

bool TierBreaker::Recent::too_many() const {
  return static_cast<unsigned>(std::popcount(bits_)) >= failures_;
}

TierBreaker::Permit TierBreaker::enter(Time now) {
  const std::lock_guard lock(mutex_);
  if (state_ == State::closed) return Permit::go;
  if (state_ == State::probing || now < until_) return Permit::no;
  state_ = State::probing;
  return Permit::probe;
}

void TierBreaker::settle(Permit permit, Outcome outcome, Time now) {
  const std::lock_guard lock(mutex_);
  if (outcome == Outcome::hit || outcome == Outcome::absent) answered_ = true;
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
  if (outcome == Outcome::unknown) return;
  reads_.add(outcome == Outcome::failed);
  if (outcome == Outcome::hit) {
    fills_.forget();
    factor_ = 1;
  }
  if (reads_.too_many()) open(now);
}

bool TierBreaker::is_closed() const {
  const std::lock_guard lock(mutex_);
  return state_ == State::closed;
}

bool TierBreaker::is_steady() const {
  const std::lock_guard lock(mutex_);
  return state_ == State::closed && answered_ && reads_.none();
}

// Says nothing of reads: a tier whose blocks come back damaged takes them without complaint.
void TierBreaker::filled() {
  const std::lock_guard lock(mutex_);
  fills_.add(false);
}

void TierBreaker::fill_failed(Time now) {
  const std::lock_guard lock(mutex_);
  if (state_ != State::closed) return;
  fills_.add(true);
  if (fills_.too_many()) open(now);
}

void TierBreaker::open(Time now) {
  constexpr unsigned kMostFactor = 16;
  state_ = State::open;
  until_ = now + rest_ * factor_;
  factor_ = std::min(factor_ * 2, kMostFactor);
}

void TierBreaker::close(unsigned failed) {
  state_ = State::closed;
  reads_.assume(failed);
  fills_.assume(failed);
}

}  // namespace thaw
