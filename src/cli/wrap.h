// `thaw run`: wires the supervisor to the command line and the configuration.
#pragma once

#include "base/context.h"
#include "cli/command_line.h"
#include "run/inherited_signals.h"

namespace thaw::cli {

// Answers the exit code. `signals` are those that this process was started with; nobody handles any
// yet. For a process of one thread.
int wrap(const CommandLine& line, const run::InheritedSignals& signals,
         Context::Clock::time_point began);

}  // namespace thaw::cli
