// A worker under the supervisor's clock.
#pragma once

#include <chrono>
#include <optional>
#include <utility>

#include "base/context.h"
#include "run/worker.h"

namespace thaw::run {

using Time = Context::Clock::time_point;

// A worker ends its own work when its time is up; this is for one that hangs. Together they are
// less than the half second by which COMMAND may be late.
inline constexpr std::chrono::milliseconds kStopPatience{250};
inline constexpr std::chrono::milliseconds kKillPatience{100};

// Something to be done at a moment, unless it is called off.
class Alarm {
 public:
  void set(Time when) { when_ = when; }
  void call_off() { when_.reset(); }
  const std::optional<Time>& when() const { return when_; }
  // True once, when the moment has come.
  bool rings(Time now) {
    if (!when_ || now < *when_) return false;
    when_.reset();
    return true;
  }

 private:
  std::optional<Time> when_;
};

// A worker, and how it is ended.
struct Job {
  explicit Job(Worker started) : worker(std::move(started)) {}
  Worker worker;
  Alarm stop, kill, abandon;

  // Asked once; then it is killed.
  void end(Time now) {
    if (kill.when() || abandon.when()) return;
    worker.ask_to_stop();
    stop.call_off();
    kill.set(now + kStopPatience);
  }
};

}  // namespace thaw::run
