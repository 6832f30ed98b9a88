#include "cli/wrap.h"

#include "app/config.h"
#include "app/locations.h"
#include "base/environment.h"
#include "base/log.h"
#include "cli/wrap_paths.h"
#include "run/supervisor.h"

namespace thaw::cli {
namespace {

// The configuration is files of this machine: what takes longer hangs.
constexpr std::chrono::milliseconds kConfigPatience{2'000};

log::Level level_of(const CommandLine& line) {
  if (line.verbosity() == 0) return log::Level::error;
  return line.verbosity() > 1 ? log::Level::debug : log::Level::info;
}

class Wrap {
 public:
  Wrap(const CommandLine& line, const WrapWords& words) : line_(line), words_(words) {}

  // What the supervisor asks once the JSON is there, or there is none to wait for.
  run::Configured configure(const std::optional<std::string>& json) const {
    ConfigSources sources = line_.sources();
    if (words_.await_config()) sources.json = words_.await_config();
    sources.json_text = json;
    if (!json) sources.json.reset();
    const Context root;
    const Context bounded = root.within(kConfigPatience);
    const auto config = load_config(bounded, sources, environment_, locations_);
    if (!config) return disabled_by(config.error());
    auto plans = plan_paths(words_, *config);
    if (!plans) return disabled_by(plans.error());
    if (plans->empty()) return run::Disabled{"disabled", "no store is named, or no path"};
    run::Work work;
    for (const PathPlan& plan : *plans) work.paths.push_back({plan.path, plan.key});
    work.own_places = own_places(*plans, locations_);
    work.open = opener(*std::move(plans), words_, locations_, environment_);
    work.saves = words_.readiness().kind != run::Readiness::Kind::never;
    return work;
  }

 private:
  static run::Disabled disabled_by(const Error& error) {
    log::warn("run: nothing is restored or saved: {}", error.text());
    return {std::string(name_of(error.code())), error.text()};
  }

  const CommandLine& line_;
  const WrapWords& words_;
  const Environment environment_ = process_environment();
  const Locations locations_ = locate(environment_);
};

}  // namespace

int wrap(const CommandLine& line, const run::InheritedSignals& signals,
         Context::Clock::time_point began) {
  const WrapWords& words = *line.wrapped();
  log::set_level(level_of(line));
  const Wrap wrap(line, words);
  run::StartOptions options;
  options.command = words.command();
  options.signals = signals;
  options.began = began;
  options.events = words.events();
  options.json = words.await_config() ? words.await_config() : line.sources().json;
  if (words.await_config()) options.await = words.await_timeout();
  options.restore_timeout = words.restore_timeout();
  options.save_timeout = words.save_timeout();
  options.settle = words.settle();
  options.exclude = words.exclude();
  options.readiness = words.readiness();
  options.save_on_exit = words.save_on_exit();
  options.verbose = line.verbosity() > 0;
  return run::supervise(
      options, [&wrap](const std::optional<std::string>& json) { return wrap.configure(json); });
}

}  // namespace thaw::cli
