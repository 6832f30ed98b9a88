// `thaw save --detach`: the save goes on in a process of its own, behind its caller's back.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "app/config.h"
#include "app/locations.h"
#include "base/fd.h"
#include "cli/outcome.h"
#include "run/event_sink.h"

namespace thaw::cli {

// One process of the two that begin() answers in. The lock is held, and events go on, until it
// goes.
class Detachment {
 public:
  // Forks: for a process of one thread. The new process has a session of its own, low priority, and
  // nothing of what its caller had open. Code::busy when a detached save of this key into this
  // store is under way on this machine: then nothing was forked.
  static Result<Detachment> begin(const std::string& key, const std::optional<std::string>& events,
                                  const Config& config, const Locations& locations);

  // What the caller is told at once; empty in the process that goes on.
  const std::optional<Outcome>& answer() const { return answer_; }
  // Its last event, in the process that goes on.
  void tell(const Outcome& outcome, std::chrono::milliseconds took);

 private:
  Detachment() = default;

  std::optional<Outcome> answer_;
  UniqueFd lock_;
  std::optional<run::EventSink> events_;
};

}  // namespace thaw::cli
