// TierBreaker: whether a tier is asked at all. It opens when a tier keeps failing.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

namespace thaw {

// A state machine without a clock: the caller says what time it is. Thread-safe.
//   closed     all reads and fills go through. `failures` of the last twice as many reads, or of
//              the fills, that fail open it: a tier may answer reads and refuse to be written, or
//              the reverse. A rate and not a row: one that fails every second time is of no use,
//              whatever it answers between. A hit forgives fills: a full tier may be worth asking.
//   open       nothing goes through, until `rest` has passed.
//   half-open  one read goes through, to try. If it fails the breaker opens again, for twice as
//              long as before (16 times `rest` at most).
class TierBreaker {
 public:
  using Time = std::chrono::steady_clock::time_point;
  enum class Permit { no, go, probe };
  enum class Outcome {
    hit,     // the tier had what it was asked for: it is worth asking
    absent,  // it answered that it has not
    failed,
    unknown,  // the reader gave up first
  };

  TierBreaker(unsigned failures, std::chrono::milliseconds rest);

  // Before a read of the tier. Each go and probe is followed by one settle().
  Permit enter(Time now);
  void settle(Permit permit, Outcome outcome, Time now);
  // Fills go through while it is closed; they never probe.
  bool is_closed() const;
  // Whether the tier has answered, and no recent read failed: then many may ask at once, where it
  // would otherwise be found out that it fails by many that wait.
  bool is_steady() const;
  void filled();
  void fill_failed(Time now);

 private:
  enum class State { closed, open, probing };

  // How the last calls of one kind ended, a bit for each.
  class Recent {
   public:
    explicit Recent(unsigned failures);
    void add(bool failed) { bits_ = (bits_ << 1 | (failed ? 1 : 0)) & mask_; }
    void forget() { bits_ = 0; }
    // As if so many had failed, and nothing else been asked.
    void assume(unsigned failed) { bits_ = (uint64_t{1} << failed) - 1; }
    bool too_many() const;
    bool none() const { return bits_ == 0; }

   private:
    const unsigned failures_;
    const uint64_t mask_;
    uint64_t bits_ = 0;
  };

  void open(Time now);
  void close(unsigned failed);

  const unsigned failures_;
  const std::chrono::milliseconds rest_;
  mutable std::mutex mutex_;
  State state_ = State::closed;
  Recent reads_;
  Recent fills_;
  bool answered_ = false;
  unsigned factor_ = 1;  // of the next rest
  Time until_{};         // open
};

}  // namespace thaw
