// One command, run to its end in a folder.
#pragma once

#include <string>
#include <vector>

#include "base/context.h"

namespace thaw::golden {

// Runs `words` (the first is looked for in PATH) in `folder` and waits. Standard input is ours,
// standard output and error are our standard error. Answers its exit code; 128 plus the signal that
// ended it. When the context ends it gets SIGTERM, then SIGKILL; when this process is killed, it
// gets SIGTERM. Errors: not_found and denied (it cannot be run), cancelled, timeout.
Result<int> run_child(const Context& context, const std::vector<std::string>& words,
                      const std::string& folder);

}  // namespace thaw::golden
