// InOrder: work that several threads do beside one another, taken in the order in which it began.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/context.h"
#include "base/task_group.h"

namespace thaw::archive {

// One owner begins and takes; at most `most` results are under way or wait to be taken, which
// bounds memory. The context outlives it.
template <class T>
class InOrder {
 public:
  using Work = std::function<Result<T>(const Context&)>;

  InOrder(const Context& parent, unsigned threads, size_t most)
      : most_(std::max<size_t>(most, 1)), group_(parent, threads, most_) {}
  ~InOrder() { group_.stop_and_join(); }
  InOrder(const InOrder&) = delete;
  InOrder& operator=(const InOrder&) = delete;

  bool empty() const { return slots_.empty(); }
  bool full() const { return slots_.size() >= most_; }

  // Precondition: not full().
  void begin(Work work) {
    auto slot = std::make_shared<Slot>();
    slots_.push_back(slot);
    group_.submit([this, slot, work = std::move(work)](const Context& inner) -> Result<> {
      THAW_ASSIGN(T result, work(inner));
      {
        const std::lock_guard lock(mutex_);
        slot->result.emplace(std::move(result));
      }
      done_.notify_all();
      return {};
    });
  }

  // Waits for the oldest that was not taken; the first error of any of them ends all.
  // Precondition: not empty().
  Result<T> take() {
    const std::shared_ptr<Slot> slot = std::move(slots_.front());
    slots_.pop_front();
    std::unique_lock lock(mutex_);
    while (!slot->result) {
      if (auto failure = group_.failure()) return *std::move(failure);
      THAW_CHECK(group_.context().alive());
      // Neither a failure nor a stop flag signals the condition.
      done_.wait_for(lock, std::chrono::milliseconds(20));
    }
    return *std::move(slot->result);
  }

 private:
  struct Slot {
    std::optional<T> result;
  };

  const size_t most_;
  std::mutex mutex_;  // guards the slots' results
  std::condition_variable done_;
  std::deque<std::shared_ptr<Slot>> slots_;  // the owner's
  TaskGroup group_;                          // last: its threads use what is above
};

}  // namespace thaw::archive
