// The save behind COMMAND: once its paths are quiet, and only as they were then.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "run/paths.h"
#include "run/settle.h"
#include "run/worker.h"

namespace thaw::run {

// A plain value.
struct SavePlan {
  std::vector<PathName> names{};             // all paths of the start
  std::vector<std::string> done{};           // those that are not to be saved (again)
  std::vector<std::string> half_restored{};  // those that may hold a part of a snapshot
  bool settles = true;                       // false: COMMAND has ended, nobody waits
  std::chrono::milliseconds quiet{};
  LeftOut left_out{};
  pid_t command = 0;                    // as SettleRequest::command
  std::chrono::milliseconds timeout{};  // of one save
};

// Waits until all paths are quiet (an event "settled"), then saves one after another, each told of
// in an event "save". A path that is another one by the time its generation would be published is
// not published (`busy`): all that are left are waited for and saved once more, three times in all.
// When the worker is hurried nobody waits any more, but they are looked at all the same. A path
// whose restore ended half-way is not saved: a part of a snapshot would follow the whole of it.
void save_paths(const WorkerCalls& calls, const OpenPath& open, const SavePlan& plan);

// Whether what kept a path from being saved, by its event, may be over by the time COMMAND ends.
bool may_be_saved_later(const Event& save);

}  // namespace thaw::run
