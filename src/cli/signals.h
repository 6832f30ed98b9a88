// Signals: a stop is asked for once, and insisted on the second time.
#pragma once

#include <chrono>

#include "base/context.h"

namespace thaw::cli {

enum class StopAnswer { nothing, json };

// SIGINT, SIGTERM and SIGHUP set the flag that is returned; one that was ignored when thaw began
// (nohup) stays ignored. A second SIGINT ends the process at once, with exit code 130; with
// StopAnswer::json it prints a JSON object first, if no result was printed yet. SIGPIPE is ignored,
// for writing answers EPIPE; so is SIGIO, which breaks a file lease of ours and would end the
// process, and SIGXFSZ, for which writing answers EFBIG.
const StopFlag& watch_signals();
void answer_stop_with(StopAnswer answer);

// The last resort of a time limit: once `time` has passed the process ends with `exit_code`,
// whatever it waits for, as if killed (which leaves nothing half-published), and says so. That it
// waits for the reader of its result is no exception. Called once.
void end_after(std::chrono::milliseconds time, int exit_code);

// True once: for whoever prints the one result.
bool claim_result();
// All of it is out: the time limit ends nothing any more.
void result_is_told();

}  // namespace thaw::cli
