// The whole command line: the commands, and the options that all of them take.
#pragma once

#include <CLI/App.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/config.h"
#include "cli/command.h"
#include "cli/outcome.h"
#include "cli/wrap_words.h"

namespace thaw::cli {

// One use: made, parsed, asked. Holds what its options write into, so it stays where it is.
class CommandLine {
 public:
  CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // Empty when there is a command to run; else the answer: help, version, completion or wrong
  // usage.
  std::optional<Outcome> parse(const std::vector<std::string>& arguments);

  // The command that was named, unless that is `run`. Precondition: parse() answered nothing.
  Command& command() const { return *chosen_; }
  // The words of `run`; null where another command was named.
  const WrapWords* wrapped() const { return is_wrapped_ ? &wrap_words_ : nullptr; }
  // Its words, for messages: "save site/shop"; "" when none was understood.
  std::string subject() const;

  bool json() const { return json_; }
  bool quiet() const { return quiet_; }
  bool stats() const { return stats_; }
  bool explain() const { return explain_; }
  // `save --detach`, and where its events go.
  bool detaches() const { return detach_; }
  const std::optional<std::string>& detached_events() const { return detached_events_; }
  int verbosity() const { return verbose_; }  // how often -v was given
  // What the flags say of the configuration.
  ConfigSources sources() const;

  const CLI::App& app() const { return app_; }

 private:
  struct Declared {
    CLI::App* app;
    std::unique_ptr<Command> command;
  };
  void declare_global_options();
  void declare_completion();
  void declare_detach();
  void declare(std::unique_ptr<Command> command);
  Outcome refused(const CLI::ParseError& fault, const std::vector<std::string>& arguments) const;
  Outcome unexpected_word() const;
  std::optional<Outcome> check_wrap(const std::vector<std::string>& arguments);
  std::vector<std::string> all_option_names() const;

  CLI::App app_;
  std::vector<Declared> declared_;
  CLI::App* completion_ = nullptr;
  CLI::App* wrap_ = nullptr;
  WrapWords wrap_words_;
  bool is_wrapped_ = false;
  Command* chosen_ = nullptr;
  std::string chosen_name_;

  std::string shell_;
  std::optional<std::string> store_;
  std::optional<std::string> config_;
  std::optional<std::string> config_json_;
  std::optional<std::string> timeout_;
  std::optional<int64_t> threads_;
  int verbose_ = 0;
  bool json_ = false;
  bool advisory_ = false;
  bool quiet_ = false;
  bool stats_ = false;
  bool no_stat_cache_ = false;
  bool no_tiers_ = false;
  bool explain_ = false;
  bool detach_ = false;
  std::optional<std::string> detached_events_;
};

}  // namespace thaw::cli
