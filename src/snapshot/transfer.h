// How many requests are on their way to a store at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "base/context.h"

namespace thaw {

// On this machine, or across a network, where a request costs a round trip and one connection does
// not fill the link.
enum class StoreDistance { local, remote };

struct TransferLimits {
  unsigned first_fetches;       // at once, to begin with
  unsigned most_fetches;        // at once, where the link gives more
  uint64_t fetch_budget_bytes;  // fetched and not yet decoded
  unsigned uploads;             // packs on their way at once
};
TransferLimits transfer_limits(StoreDistance distance);

// What tidying up after a save may take: a moment once its context is over, for whoever set a time
// limit waits.
std::chrono::milliseconds farewell_time(const Context& context);

// Lets so many requests through at once as make the link faster: more while that raises the rate by
// a tenth, fewer when it falls, half when the other side asks for less. Thread-safe.
class TransferGate {
 public:
  using Clock = std::chrono::steady_clock;

  TransferGate(unsigned first, unsigned most);

  // Waits for a place, at most as long as the context lives.
  Result<> enter(const Context& context);
  // Gives the place back. `overloaded`: the request failed with Code::unavailable or busy.
  void leave(uint64_t bytes, bool overloaded, Clock::time_point now = Clock::now());
  unsigned limit() const;

 private:
  void judge_window(Clock::time_point now);

  const unsigned most_;
  mutable std::mutex mutex_;
  std::condition_variable freed_;
  unsigned limit_;
  unsigned inside_ = 0;
  // Since the limit was last judged.
  Clock::time_point window_began_{};
  unsigned window_requests_ = 0;
  uint64_t window_bytes_ = 0;
  double best_rate_ = 0;  // bytes a second
};

}  // namespace thaw
