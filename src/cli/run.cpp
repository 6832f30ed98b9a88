#include "cli/run.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <optional>

#include "app/config.h"
#include "app/locations.h"
#include "app/open_store.h"
#include "base/context.h"
#include "base/environment.h"
#include "base/log.h"
#include "cli/command_line.h"
#include "cli/detach.h"
#include "cli/outcome.h"
#include "cli/progress_line.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/wrap.h"
#include "snapshot/catalog.h"

namespace thaw::cli {
namespace {

using Clock = std::chrono::steady_clock;

// What a command may take beyond its time limit to put things away.
constexpr std::chrono::milliseconds kLastResort{350};
// What reading the configuration may take, where no time limit is given on the command line.
constexpr std::chrono::milliseconds kConfigPatience{10'000};

// A descriptor that is closed at the start would be given to the next file that is opened, and a
// log line would end up in a snapshot.
void open_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd) {
    // The lowest free number is this one.
    if (::fcntl(fd, F_GETFD) < 0) [[maybe_unused]]
      const int opened = ::open("/dev/null", O_RDWR | O_CLOEXEC);
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

// A store that refuses what is asked of it, or that this build cannot read, is a failure and not
// wrong usage: the words that were typed are fine.
void blame_store(const Context& context, ObjectStore& store, const StoreMeter& meter,
                 Outcome& outcome) {
  if (outcome.status != Status::usage) return;
  if (meter.refused > 0) {
    outcome.status = Status::failed;
    return;
  }
  auto readable = check_store(context, store);
  if (!readable && readable.error().code() == Code::invalid) outcome.status = Status::failed;
}

enum class Stats { said, unsaid };

// The tiers get what they are still to keep, and then it is known what was done.
void finish(OpenedStore& opened, Stats stats) {
  const std::string name = opened.store->describe();
  opened.store.reset();
  if (stats == Stats::said) report_stats(opened, name);
}

// The time limit bounds the whole command: what went into its configuration counts.
Outcome run_here(const CommandLine& line, const Context& root, Clock::time_point began,
                 const Config& config, const Locations& locations, const Environment& environment) {
  using std::chrono::milliseconds;
  milliseconds left{};
  if (config.timeout_ms) {
    const auto took = std::chrono::duration_cast<milliseconds>(Clock::now() - began);
    left = std::max(*config.timeout_ms - took, milliseconds(1));
    const Advice advice = config.advisory ? Advice::advisory : Advice::binding;
    end_after(left + kLastResort, exit_code(Status::failed, advice));
  }
  const Context context = config.timeout_ms ? root.within(left) : root;
  Config past_tiers = config;
  past_tiers.tiers.clear();
  const bool through = line.command().reach() == Reach::through_tiers;
  auto opened = open_store(through ? config : past_tiers, locations, environment, context);
  if (!opened) return wrong_usage(opened.error().text());
  if (line.explain()) report_chain(*opened->store);
  Progress progress;
  Session session{context, config, locations, environment, *opened, progress};
  Outcome outcome;
  {
    std::optional<ProgressLine> shown;
    if (!line.quiet() && can_show_progress()) shown.emplace(progress);
    outcome = line.command().run(session);
  }
  if (line.command().reach() != Reach::elsewhere) {
    blame_store(context, session.store(), *opened->meter, outcome);
    outcome.fields["requests"] = session.requests();
  }
  finish(*opened, line.stats() ? Stats::said : Stats::unsaid);
  return outcome;
}

// In this process, or in one of its own.
Outcome run_command(const CommandLine& line, const Context& root, Clock::time_point began,
                    const Config& config, const Locations& locations,
                    const Environment& environment) {
  if (!line.detaches()) return run_here(line, root, began, config, locations, environment);
  auto detached =
      Detachment::begin(line.command().subject(), line.detached_events(), config, locations);
  if (!detached) return failure(detached.error());
  if (detached->answer()) return *detached->answer();
  Outcome outcome = run_here(line, root, began, config, locations, environment);
  detached->tell(outcome,
                 std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began));
  return outcome;
}

// What was parsed, answered.
Outcome outcome_of(const CommandLine& line, const StopFlag& stop, Clock::time_point began,
                   Advice& advice) {
  const Environment environment = process_environment();
  const Locations locations = locate(environment);
  const ConfigSources sources = line.sources();
  const EarlyConfig early = early_config(sources, environment);
  if (early.advisory) advice = Advice::advisory;
  const Context root(stop);
  const Context reading = root.within(early.timeout_ms.value_or(kConfigPatience));
  auto config = load_config(reading, sources, environment, locations);
  if (!config && !reading.alive()) return failure(config.error());
  if (!config) return wrong_usage(config.error().text());
  advice = Advice::binding;
  log::set_level(config->log_level);
  if (config->advisory) {
    advice = Advice::advisory;
    if (!config->store && line.command().needs_store()) return disabled();
  }
  return run_command(line, root, began, *config, locations, environment);
}

// Our own code answers errors as values; what a library or the allocator throws ends here.
Outcome guarded_outcome(const CommandLine& line, const StopFlag& stop, Clock::time_point began,
                        Advice& advice) {
  try {
    return outcome_of(line, stop, began, advice);
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
  const run::InheritedSignals inherited = run::inherited_signals();

  CommandLine line;
  auto answered = line.parse(arguments);
  if (!answered && line.wrapped() != nullptr) return wrap(line, inherited, began);
  const StopFlag& stop = watch_signals();
  if (line.json()) answer_stop_with(StopAnswer::json);

  Advice advice = Advice::binding;
  const Outcome outcome =
      answered ? *std::move(answered) : guarded_outcome(line, stop, began, advice);

  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began);
  return report(outcome, form_of(line), advice, line.subject(), took);
}

}  // namespace thaw::cli
