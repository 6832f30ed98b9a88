// What a start tells: events to who watches it, lines to people. Neither holds it up.
#pragma once

#include <poll.h>

#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "run/event_sink.h"

namespace thaw::run {

// While it lives, log lines of this process go through it. One thread, one at a time.
class Telling {
 public:
  // `events` is a FILE or fd:N. One that cannot be opened is said on standard error, and that is
  // all.
  Telling(const std::optional<std::string>& events, bool verbose, Context::Clock::time_point began);
  Telling(const Telling&) = delete;
  Telling& operator=(const Telling&) = delete;
  ~Telling();

  // With "at_ms", to the events, and as a line when it is verbose.
  void emit(Event event);
  // What to wait for when there is something left to write, and the writing of it.
  void ask(std::vector<struct pollfd>& asked) const;
  void flush();
  // Standard error is COMMAND's alone from now on, unless it is verbose.
  void leave_standard_error();

 private:
  const bool verbose_;
  const Context::Clock::time_point began_;
  std::optional<EventSink> events_;
  std::optional<EventSink> lines_;
};

}  // namespace thaw::run
