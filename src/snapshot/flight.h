// Flights: work that is done once for all who ask for it while it is under way.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/context.h"

namespace thaw {

// One such piece of work: whoever leads it finishes it once, others wait. Thread-safe.
template <class Value>
class Flight {
 public:
  void finish(Result<Value> outcome) {
    {
      const std::lock_guard lock(mutex_);
      outcome_.emplace(std::move(outcome));
    }
    finished_.notify_all();
  }

  // Waits for the end of the work, at most as long as the waiter's context lives: an error is the
  // waiter's own. Afterwards outcome() answers.
  Result<> wait(const Context& context) const {
    // Stop flags wake nobody (a signal handler may set them), so they are looked at now and then.
    constexpr std::chrono::milliseconds kStep{20};
    std::unique_lock lock(mutex_);
    while (!outcome_) {
      THAW_CHECK(context.alive());
      auto until = Context::Clock::now() + kStep;
      if (context.deadline()) until = std::min(until, *context.deadline());
      finished_.wait_until(lock, until);
    }
    return {};
  }
  const Result<Value>& outcome() const { return *outcome_; }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable finished_;
  std::optional<Result<Value>> outcome_;  // set once
};

// Counts for one waiter the leaders that failed. A leader that fails fails nobody else: one of
// those who waited takes over. But where two in a row failed for reasons that were not their own,
// the second error is an answer: otherwise as many would try as wait, one after another.
class LeaderFailures {
 public:
  // Whether the waiter gives up with this error.
  bool add(const Error& error) {
    if (error.code() == Code::cancelled || error.code() == Code::timeout) return false;
    return ++count_ == 2;
  }

 private:
  unsigned count_ = 0;
};

// Flights by name. Nothing is kept of a flight that ended. Thread-safe.
template <class Name, class Value>
class Flights {
 public:
  // Does the work, or waits for another thread that does it already; under the waiter's own context
  // either way.
  Result<Value> run(const Context& context, const Name& name,
                    const std::function<Result<Value>()>& work) {
    LeaderFailures failures;
    while (true) {
      auto [flight, leads] = join(name);
      if (leads) {
        auto outcome = work();
        leave(name);
        flight->finish(outcome);
        return outcome;
      }
      THAW_CHECK(flight->wait(context));
      const Result<Value>& outcome = flight->outcome();
      if (outcome || failures.add(outcome.error())) return outcome;
    }
  }

 private:
  using Shared = std::shared_ptr<Flight<Value>>;

  std::pair<Shared, bool> join(const Name& name) {
    const std::lock_guard lock(mutex_);
    Shared& flight = flights_[name];
    const bool leads = flight == nullptr;
    if (leads) flight = std::make_shared<Flight<Value>>();
    return {flight, leads};
  }
  // By its leader, so the flight of this name is the leader's and no successor's.
  void leave(const Name& name) {
    const std::lock_guard lock(mutex_);
    flights_.erase(name);
  }

  std::mutex mutex_;
  std::map<Name, Shared> flights_;
};

}  // namespace thaw
