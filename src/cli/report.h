// Tells an outcome to people and programs.
#pragma once

#include <chrono>
#include <string>

#include "cli/outcome.h"
#include "object/metered.h"

namespace thaw::cli {

enum class Form { text, quiet_text, json };

// Prints the result to standard output and what went wrong to standard error; under advice as a log
// line. Answers the exit code, which a standard output that cannot be written turns into 1 (but one
// whose reader left does not, and under advice nothing does). Errors of standard error are ignored.
int report(const Outcome& outcome, Form form, Advice advice, const std::string& subject,
           std::chrono::milliseconds took);

// One line on standard error.
void report_stats(const StoreMeter& meter, const ObjectStore& store);

}  // namespace thaw::cli
