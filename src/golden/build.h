// Build: a command makes the next generation of a golden, once however many ask.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "golden/making.h"
#include "golden/place.h"
#include "golden/promote.h"
#include "snapshot/progress.h"

namespace thaw::golden {

struct BuildRequest {
  PromoteRequest promote;  // its path does not count
  std::vector<std::string> command;
  Wait wait = Wait::for_others;
  bool if_missing = false;  // not where this machine has a generation
};

struct BuildReport {
  bool built = false;        // else another process built it, or it was there
  uint64_t generation = 0;   // the current one
  int exit_code = 0;         // of the command; where it is not 0, nothing was promoted
  PromoteReport promoted{};  // of what was built
};

// Runs the command in an empty folder, and promotes that where it exits with 0. Errors: busy
// (another process is at work on it, and Wait::not_at_all), those of run_child and of promote. What
// fails leaves nothing. `progress` may be null.
Result<BuildReport> build(const Context& context, const Root& root, const BuildRequest& request,
                          const WallClock& clock, Progress* progress);

}  // namespace thaw::golden
