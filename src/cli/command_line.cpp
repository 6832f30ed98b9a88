#include "cli/command_line.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <utility>

#include "app/nearest.h"
#include "base/version.h"
#include "cli/choice.h"
#include "cli/completion.h"
#include "cli/text.h"

namespace thaw::cli {
namespace {

constexpr const char* kDescription =
    R"(thaw freezes a directory into a deduplicated, verified snapshot on a store,
and thaws it somewhere else.

  thaw save KEY DIR       keep DIR as the next generation of KEY
  thaw restore KEY DIR    make DIR from the newest generation of KEY)";

constexpr const char* kFooter =
    R"(`thaw COMMAND --help` shows a command's options and examples. Global options may stand before or after
the command.

Store: file:///path or a path; s3://BUCKET/PREFIX?region=R&endpoint=URL, with the AWS SDKs' credentials;
gs://BUCKET/PREFIX. Without any, $XDG_DATA_HOME/thaw/store (~/.local/share/thaw/store); but under
--advisory, which helps only where it is set up, nothing is done, and the result says "disabled".

Environment:
  THAW_STORE      the store, where --store is not given
  THAW_CONFIG     the configuration file, where --config is not given
  THAW_ADVISORY   1: as --advisory

Configuration (TOML): --config FILE, else $XDG_CONFIG_HOME/thaw/thaw.toml, else /etc/thaw/thaw.toml.
A flag stands over --config-json, that over the environment, that over the file.
  store, timeout, advisory, log_level, stat_cache, tiers
  [save] compression_level, unchanged_by
  [policy] allow_empty, allow_shrink, shrink_below, accept_after_refusals
  [limits] threads
  [retry] attempts, base, cap
  [s3] connect_timeout, stall_timeout, hedge_after, ca_file, access_key_id, secret_access_key, session_token
  [[tier]] kind = "disk"|"bucket", path|url, max_bytes, block_size, fill: nearest first
  [cache] write = "always"|"never"|"branches: [main, release/*]": who may save CI caches
  [[retention]] prefix, keep_last, keep_within, keep_label, ttl: what `thaw gc` keeps
  [run] key; [[run.path]] path, key, store, access_key_id, secret_access_key, session_token

Exit codes (0 for 1, 3 and 4 under --advisory; the result then says what happened):
  0  done, also when nothing had changed      3  miss: no such key or generation
  1  failed, or stopped by a signal           4  refused: empty, shrunken, busy, no room
  2  wrong usage or configuration

With --json, standard output is exactly one JSON object; bytes of names that are not UTF-8 are replaced
in it by U+FFFD.)";

constexpr const char* kCommands = "Commands";

// CLI11's own, without what it says twice.
class Formatter final : public CLI::Formatter {
 public:
  Formatter() {
    column_width(34);
    label("SUBCOMMAND", "COMMAND");
    label("Positionals", "Arguments");
  }

  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_positional() || option->get_items_expected_max() == 0) return "";
    return " " + option->get_type_name();
  }

  std::string make_description(const CLI::App* app) const override {
    return app->get_description() + "\n\n";
  }

  std::string make_footer(const CLI::App* app) const override {
    std::string footer = CLI::Formatter::make_footer(app);
    if (app->get_parent() != nullptr) footer += "\nGlobal options: see `thaw --help`.\n";
    return footer;
  }
};

// As in "--store", which is how people write it.
std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* each : app.get_subcommands({})) names.push_back(each->get_name());
  return names;
}

// What a word that stood behind `--` begins with while it is parsed. CLI11 forgets a `--` once a
// command has all its words, and would take `-- --json` for an option.
constexpr std::string_view kPlain = "\x01word\x01";

std::string without_mark(std::string word) {
  return word.starts_with(kPlain) ? word.substr(kPlain.size()) : word;
}

// The words as CLI11 is to see them: `--` gone, those behind it marked.
std::vector<std::string> marked(const std::vector<std::string>& arguments) {
  const auto mark = std::find(arguments.begin(), arguments.end(), "--");
  std::vector<std::string> words(arguments.begin(), mark);
  if (mark == arguments.end()) return words;
  for (auto word = mark + 1; word != arguments.end(); ++word) {
    words.push_back(std::string(kPlain) + *word);
  }
  return words;
}

// "--store=", which CLI11 would fill with the next word; "" if there is none.
std::string option_with_nothing(const std::vector<std::string>& arguments,
                                const std::vector<std::string>& names) {
  for (const std::string& word : arguments) {
    if (word == "--") break;
    if (!word.ends_with('=')) continue;
    std::string name = word.substr(0, word.size() - 1);
    if (std::find(names.begin(), names.end(), name) != names.end()) return name;
  }
  return "";
}

// An option that takes one value, and was given more than once; "" if there is none.
std::string repeated_option(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional() || option->get_items_expected_max() != 1) continue;
    if (option->count() > 1) return option->get_name();
  }
  return "";
}

// What holds for every option that takes a value, and for every positional word.
void add_rules(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      option->transform(without_mark, "");
    } else if (option->get_items_expected_max() > 0) {
      option->check(CLI::Validator(
          [](std::string& value) {
            return value.empty() ? std::string("the value is empty") : std::string();
          },
          ""));
    }
  }
}

Outcome help_of(std::string text) {
  Outcome outcome;
  outcome.fields["help"] = text;
  outcome.listing = std::move(text);
  return outcome;
}

// Known before parsing, for wrong usage is answered in JSON too.
bool asks_for_json(const std::vector<std::string>& arguments) {
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  return std::find(arguments.begin(), end, "--json") != end;
}

}  // namespace

CommandLine::CommandLine() : app_(kDescription, "thaw") {
  app_.formatter(std::make_shared<Formatter>());
  app_.footer(kFooter);
  app_.set_help_flag("-h,--help", "Show this and exit");
  app_.set_version_flag("--version", std::string("thaw ") + kVersion, "Show the version and exit");
  // Exactly one, so that further words are never taken for a command: a key may be named "save".
  app_.require_subcommand(1);
  app_.fallthrough();
  declare_global_options();
  for (const auto& make : {make_save, make_restore, make_ls, make_inspect, make_diff, make_rm,
                           make_verify, make_read, make_extract, make_invalidate, make_gc,
                           make_tier, make_golden, make_archive, make_cache, make_doctor}) {
    declare(make());
  }
  declare_detach();
  wrap_ = &wrap_words_.declare(app_);
  wrap_->group(kCommands);
  declare_completion();
  add_rules(app_);
  for (CLI::App* command : app_.get_subcommands({})) add_rules(*command);
}

void CommandLine::declare_global_options() {
  app_.add_option("--store", store_, "Where snapshots live")->type_name("URL");
  app_.add_option("--config", config_, "Read this configuration file")->type_name("FILE");
  app_.add_option("--config-json", config_json_, "Read settings as JSON too, over the environment")
      ->type_name("FILE|fd:N");
  app_.add_flag("--json", json_, "Print the result as one JSON object");
  app_.add_option("--timeout", timeout_, "Give up after this long: 30s, 5m; none (the default)")
      ->type_name("TIME");
  app_.add_flag(
      "--advisory", advisory_,
      "What fails, misses or is refused exits with 0; at most 60 s. A store must be named: "
      "without one nothing is done");
  app_.add_flag("-v,--verbose", verbose_, "Say more of what is done; -vv: much more");
  app_.add_flag("-q,--quiet", quiet_, "Say nothing but errors; no progress, no summary");
  app_.add_flag("--stats", stats_, "Say what was asked of the store, on standard error");
  app_.add_flag("--explain", explain_,
                "Say what answers: the tiers and the store, on standard error");
  app_.add_flag("--no-tiers", no_tiers_, "Go straight to the store, past all tiers");
  app_.add_flag("--no-stat-cache", no_stat_cache_, "Neither use nor fill the stat cache");
  app_.add_option("--threads", threads_, "Use so many threads (default: all cores)")
      ->type_name("N");
}

void CommandLine::declare(std::unique_ptr<Command> command) {
  CLI::App& app = command->declare(app_);
  app.group(kCommands);
  declared_.push_back({&app, std::move(command)});
}

// Here, since it is about the process and not about the save.
void CommandLine::declare_detach() {
  CLI::App& save = *app_.get_subcommand("save");
  save.add_flag("--detach", detach_,
                "Answer at once, and save in a process of its own, at low priority");
  save.add_option("--events", detached_events_, "with --detach: write what comes of it there")
      ->type_name("FILE|fd:N");
}

void CommandLine::declare_completion() {
  completion_ = app_.add_subcommand("completion", "Print a completion script for a shell");
  completion_->footer(R"(Examples:
  source <(thaw completion bash)
  thaw completion zsh > "${fpath[1]}/_thaw")");
  add_choice(*completion_, "SHELL", shell_, {"bash", "zsh"}, "The shell")->required();
  completion_->group(kCommands);
}

std::optional<Outcome> CommandLine::parse(const std::vector<std::string>& arguments) {
  json_ = asks_for_json(arguments);
  if (const std::string name = option_with_nothing(arguments, all_option_names()); !name.empty()) {
    return wrong_usage(name + "= has no value", "thaw --help");
  }
  try {
    std::vector<std::string> words = marked(arguments);
    // CLI11 takes them from the back.
    std::reverse(words.begin(), words.end());
    app_.parse(std::move(words));
  } catch (const CLI::CallForVersion&) {
    Outcome outcome;
    outcome.fields["version"] = kVersion;
    outcome.listing = std::string("thaw ") + kVersion + '\n';
    return outcome;
  } catch (const CLI::CallForHelp&) {
    return help_of(app_.help());  // the command's, if there is one
  } catch (const CLI::ParseError& fault) {
    return refused(fault, arguments);
  }
  if (completion_->parsed()) {
    Outcome outcome;
    outcome.listing = shell_ == "zsh" ? zsh_completion(app_) : bash_completion(app_);
    outcome.fields["script"] = outcome.listing;
    return outcome;
  }
  if (wrap_->parsed()) return check_wrap(arguments);
  for (const Declared& each : declared_) {
    if (!each.app->parsed()) continue;
    chosen_ = each.command.get();
    chosen_name_ = each.app->get_name();
  }
  if (detached_events_ && !detach_) {
    return wrong_usage("--events goes with --detach", "thaw save --help");
  }
  if (json_ && chosen_->output() == Output::bytes) {
    return wrong_usage(chosen_name_ + " writes bytes, which are no JSON: leave --json out",
                       "thaw " + chosen_name_ + " --help");
  }
  auto checked = chosen_->check();
  if (!checked) return wrong_usage(checked.error().text(), "thaw " + chosen_name_ + " --help");
  return std::nullopt;
}

std::optional<Outcome> CommandLine::check_wrap(const std::vector<std::string>& arguments) {
  chosen_name_ = "run";
  const std::string hint = "thaw run --help";
  if (std::find(arguments.begin(), arguments.end(), "--") == arguments.end())
    return wrong_usage("COMMAND stands behind --", hint);
  if (json_)
    return wrong_usage("standard output is COMMAND's: leave --json out, --events tells", hint);
  if (timeout_)
    return wrong_usage("run has --restore-timeout and --save-timeout in place of --timeout", hint);
  if (config_json_ && wrap_words_.await_config())
    return wrong_usage("--config-json and --await-config exclude each other", hint);
  auto checked = wrap_words_.check();
  if (!checked) return wrong_usage(checked.error().text(), hint);
  is_wrapped_ = true;
  return std::nullopt;
}

std::vector<std::string> CommandLine::all_option_names() const {
  std::vector<std::string> names = option_names(app_);
  for (const CLI::App* command : app_.get_subcommands({})) {
    for (std::string& name : option_names(*command)) names.push_back(std::move(name));
  }
  return names;
}

Outcome CommandLine::refused(const CLI::ParseError& fault,
                             const std::vector<std::string>& arguments) const {
  const auto chosen = app_.get_subcommands();
  if (chosen.empty()) {
    if (arguments.empty() || app_.remaining().empty())
      return wrong_usage("name a command", "thaw --help");
    return unexpected_word();
  }
  const CLI::App& app = *chosen.front();
  const std::string hint = "thaw " + app.get_name() + " --help";
  if (dynamic_cast<const CLI::ExtrasError*>(&fault) != nullptr) {
    const auto extras = app_.remaining(true);
    const std::string word = extras.empty() ? "" : extras.front();
    if (!word.starts_with('-') || word == "-") {
      return wrong_usage("one word too many: \"" + without_mark(word) + '"', hint);
    }
    auto names = option_names(app);
    for (std::string& name : option_names(app_)) names.push_back(std::move(name));
    return wrong_usage("unknown option " + word + did_you_mean(word, names), hint);
  }
  for (const CLI::App* each : {&app, static_cast<const CLI::App*>(&app_)}) {
    const std::string name = repeated_option(*each);
    if (!name.empty()) return wrong_usage(name + " is given more than once", hint);
  }
  return wrong_usage(fault.what(), hint);
}

// The first word that is no option of ours: where no command was recognized.
Outcome CommandLine::unexpected_word() const {
  const auto words = app_.remaining();
  for (const std::string& word : words) {
    if (word.starts_with('-')) continue;
    const std::string plain = without_mark(word);
    return wrong_usage(
        "unknown command \"" + plain + '"' + did_you_mean(plain, command_names(app_)),
        "thaw --help");
  }
  return wrong_usage(
      "unknown option " + words.front() + did_you_mean(words.front(), option_names(app_)),
      "thaw --help");
}

std::string CommandLine::subject() const {
  if (chosen_ == nullptr) return chosen_name_;
  const std::string on = chosen_->subject();
  return on.empty() ? chosen_name_ : chosen_name_ + " " + on;
}

ConfigSources CommandLine::sources() const {
  ConfigSources sources;
  sources.file = config_;
  sources.json = config_json_;
  auto flag = [&sources](const char* name, SettingValue value, const char* where) {
    sources.flags.push_back({name, std::move(value), where});
  };
  if (store_) flag("store", *store_, "--store");
  if (timeout_) flag("timeout", *timeout_, "--timeout");
  if (threads_) flag("limits.threads", *threads_, "--threads");
  if (advisory_) flag("advisory", true, "--advisory");
  if (no_tiers_) flag("tiers", false, "--no-tiers");
  if (no_stat_cache_) flag("stat_cache", false, "--no-stat-cache");
  if (quiet_) flag("log_level", "error", "--quiet");
  if (verbose_ > 0) flag("log_level", verbose_ > 1 ? "debug" : "info", "--verbose");
  if (chosen_ == nullptr) return sources;
  if (const auto advisory = chosen_->advisory()) flag("advisory", *advisory, "the command");
  sources.default_timeout = chosen_->default_timeout();
  return sources;
}

}  // namespace thaw::cli
