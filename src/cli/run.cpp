#include "cli/run.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <new>
#include <optional>

#include "app/config.h"
#include "app/environment.h"
#include "app/locations.h"
#include "app/open_store.h"
#include "base/context.h"
#include "base/log.h"
#include "cli/command_line.h"
#include "cli/outcome.h"
#include "cli/progress_line.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "snapshot/catalog.h"

namespace thaw::cli {
namespace {

using Clock = std::chrono::steady_clock;

// A descriptor that is closed at the start would be given to the next file that is opened, and a
// log line would end up in a snapshot.
void open_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd) {
    // The lowest free number is this one.
    if (::fcntl(fd, F_GETFD) < 0) [[maybe_unused]]
      const int opened = ::open("/dev/null", O_RDWR);
  }
}

Outcome disabled() {
  Outcome outcome;
  outcome.status = Status::disabled;
  outcome.reason = "disabled";
  outcome.message = "no store is named, so nothing was done";
  outcome.hint = "name one by --store, THAW_STORE or the configuration";
  return outcome;
}

// Under advice a store that this build cannot read is a failure to live with, not wrong usage: the
// words that were typed are fine, and stay so.
void blame_store(const Context& context, ObjectStore& store, Outcome& outcome) {
  if (outcome.status != Status::usage) return;
  auto readable = check_store(context, store);
  if (!readable && readable.error().code() == Code::invalid) outcome.status = Status::failed;
}

Outcome run_command(const CommandLine& line, const StopFlag& stop, const Config& config,
                    const Locations& locations) {
  auto opened = open_store(config, locations);
  if (!opened) return wrong_usage(opened.error().text());

  const Context root(stop);
  const Context context = config.timeout_ms ? root.within(*config.timeout_ms) : root.with(stop);
  Progress progress;
  Session session{context, config, locations, *opened, progress};
  Outcome outcome;
  {
    std::optional<ProgressLine> shown;
    if (!line.quiet() && can_show_progress()) shown.emplace(progress);
    outcome = line.command().run(session);
  }
  blame_store(context, session.store(), outcome);
  outcome.fields["requests"] = session.requests();
  if (line.stats()) report_stats(*opened->meter, *opened->store);
  return outcome;
}

// What was parsed, answered.
Outcome outcome_of(const CommandLine& line, const StopFlag& stop, Advice& advice) {
  const Environment environment = process_environment();
  const Locations locations = locate(environment);
  auto config = load_config(line.sources(), environment, locations);
  if (!config) return wrong_usage(config.error().text());
  log::set_level(config->log_level);
  if (config->advisory) {
    advice = Advice::advisory;
    if (!config->store) return disabled();
  }
  return run_command(line, stop, *config, locations);
}

// Our own code answers errors as values; what a library or the allocator throws ends here.
Outcome guarded_outcome(const CommandLine& line, const StopFlag& stop, Advice& advice) {
  try {
    return outcome_of(line, stop, advice);
  } catch (const std::bad_alloc&) {
    return failure(Error(Code::exhausted, "out of memory"));
  } catch (const std::exception& fault) {
    return failure(Error(Code::internal, fault.what()));
  }
}

Form form_of(const CommandLine& line) {
  if (line.json()) return Form::json;
  return line.quiet() ? Form::quiet_text : Form::text;
}

}  // namespace

int run(const std::vector<std::string>& arguments) {
  const auto began = Clock::now();
  open_standard_descriptors();
  const StopFlag& stop = watch_signals();

  CommandLine line;
  auto answered = line.parse(arguments);
  if (line.json()) answer_stop_with(StopAnswer::json);

  Advice advice = Advice::binding;
  const Outcome outcome = answered ? *std::move(answered) : guarded_outcome(line, stop, advice);

  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began);
  return report(outcome, form_of(line), advice, line.subject(), took);
}

}  // namespace thaw::cli
