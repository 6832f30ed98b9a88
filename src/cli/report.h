// Tells an outcome to people and programs.
#pragma once

#include <chrono>
#include <string>

#include "app/open_store.h"
#include "cli/outcome.h"

namespace thaw::cli {

enum class Form { text, quiet_text, json };

// Prints the result to standard output and what went wrong to standard error; under advice as a log
// line. Answers the exit code, which a standard output that cannot be written turns into 1 (but one
// whose reader left does not, and under advice nothing does). Errors of standard error are ignored.
int report(const Outcome& outcome, Form form, Advice advice, const std::string& subject,
           std::chrono::milliseconds took);

// A line on standard error for the store, and one for each tier. `name` is what the stack was
// called; the store itself may be closed already.
void report_stats(const OpenedStore& opened, const std::string& name);
// What answers: the tiers and the store.
void report_chain(const ObjectStore& store);

}  // namespace thaw::cli
