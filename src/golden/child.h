// One command, run to its end in a folder.
#pragma once

#include <string>
#include <vector>

#include "base/context.h"

namespace thaw::golden {

// Runs `words` (the first is looked for in PATH) in `folder`, with `variable` (NAME=VALUE) in its
// environment, and waits. Standard input is ours, standard output and error are our standard error.
// Answers its exit code; 128 plus the signal that ended it. Processes that it leaves behind get
// SIGKILL: nobody writes into the folder after this. When the context ends it gets SIGTERM, and 200
// ms later SIGKILL with all that it started; when this process is killed, it gets SIGTERM.
// Precondition: this process has no other children. Errors: not_found and denied (it cannot be
// run), cancelled, timeout.
Result<int> run_child(const Context& context, const std::vector<std::string>& words,
                      const std::string& folder, const std::string& variable);

}  // namespace thaw::golden
