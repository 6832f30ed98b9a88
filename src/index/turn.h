// Turn: one caller at a time, for as long as a context lets the others wait.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/context.h"

namespace thaw {

// A mutex that is waited for with a deadline. Thread-safe.
class Turn {
 public:
  // Gives the turn back at its end. Move-only.
  class Held {
   public:
    explicit Held(Turn& turn) : turn_(&turn) {}
    Held(Held&& other) noexcept : turn_(std::exchange(other.turn_, nullptr)) {}
    Held& operator=(Held&&) = delete;
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
      if (turn_ != nullptr) turn_->give_back();
    }

   private:
    Turn* turn_;
  };

  // An error when the context ends first.
  Result<Held> take(const Context& context) {
    // Stop flags do not signal the condition, so look at them a few times a second.
    constexpr std::chrono::milliseconds kLook{20};
    std::unique_lock lock(mutex_);
    while (true) {
      THAW_CHECK(context.alive());
      if (!taken_) break;
      free_.wait_for(lock, std::min(kLook, context.remaining().value_or(kLook)));
    }
    taken_ = true;
    return Held(*this);
  }

 private:
  void give_back() {
    {
      const std::lock_guard lock(mutex_);
      taken_ = false;
    }
    free_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable free_;
  bool taken_ = false;
};

}  // namespace thaw
