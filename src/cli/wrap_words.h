// The words of `thaw run`: its options, and COMMAND.
#pragma once

#include <CLI/App.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "app/run_settings.h"
#include "base/result.h"
#include "format/key.h"
#include "format/record.h"
#include "run/readiness.h"
#include "snapshot/policy.h"
#include "snapshot/restore.h"
#include "snapshot/save.h"

namespace thaw::cli {

// Used once: declared, parsed into, checked, read.
class WrapWords {
 public:
  // Adds the subcommand; parsing writes into this object.
  CLI::App& declare(CLI::App& parent);
  // Turns words into values; every error is wrong usage. Looks at where paths lead, and changes
  // nothing.
  Result<> check();

  const std::vector<std::string>& command() const { return command_; }
  const std::optional<std::string>& key() const { return key_; }
  const std::vector<RunPath>& paths() const { return parsed_paths_; }  // absolute
  const run::Readiness& readiness() const { return readiness_; }
  const std::optional<std::string>& events() const { return events_; }
  const std::vector<std::string>& exclude() const { return exclude_; }
  const std::optional<std::string>& await_config() const { return await_config_; }
  std::chrono::milliseconds await_timeout() const { return await_ms_; }
  std::chrono::milliseconds restore_timeout() const { return restore_ms_; }
  std::chrono::milliseconds save_timeout() const { return save_ms_; }
  std::chrono::milliseconds settle() const { return settle_ms_; }
  bool save_on_exit() const { return save_on_exit_; }

  // What the words say of a request, over what the configuration does.
  void apply_to(RestoreRequest& request) const;
  void apply_to(SaveRequest& request) const;

 private:
  void declare_paths(CLI::App& app);
  void declare_readiness(CLI::App& app);
  void declare_times(CLI::App& app);
  Result<> check_readiness_words();
  Result<> check_times();
  Result<> check_paths();

  std::vector<std::string> command_;
  std::optional<std::string> key_;
  std::vector<std::string> path_, fallback_, label_, exclude_, image_;
  std::string mode_ = "replace";
  std::string unchanged_by_;
  bool allow_empty_ = false;
  bool allow_shrink_ = false;
  bool save_on_exit_ = false;
  std::optional<std::string> events_, await_config_;
  std::optional<std::string> ready_http_, ready_tcp_, ready_file_, ready_after_;
  std::optional<int> ready_status_, ready_fd_;
  std::optional<std::string> ready_body_;
  bool ready_notify_ = false;
  bool ready_exit_ = false;
  std::string restore_timeout_ = "15s";
  std::string save_timeout_ = "5m";
  std::string settle_ = "2s";
  std::string await_timeout_ = "3s";

  std::vector<RunPath> parsed_paths_;
  std::vector<Key> parsed_fallbacks_;
  Labels labels_;
  run::Readiness readiness_;
  std::chrono::milliseconds restore_ms_{}, save_ms_{}, settle_ms_{}, await_ms_{};
};

// An absolute path for what was written, which may be relative to the working directory. Refuses
// the root and the home directory, and what holds them.
Result<std::string> path_to_keep(const std::string& text);

// Code::invalid when two of these directories are one, or one lies in the other, also through
// links; or when the file that events go to lies in one, which a restore would replace under it.
Result<> refuse_overlaps(const std::vector<RunPath>& paths,
                         const std::optional<std::string>& events);

}  // namespace thaw::cli
