// The supervisor: one start of COMMAND, from the restore before it to the save behind it.
// docs/run.md says how.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/context.h"
#include "run/inherited_signals.h"
#include "run/paths.h"
#include "run/readiness.h"

namespace thaw::run {

// What is to be done for COMMAND, once the configuration is known.
struct Work {
  std::vector<PathName> paths;
  OpenPath open;
  // Absolute, without links: what thaw writes itself, which is not saved and need not be quiet.
  std::vector<std::string> own_places{};
  bool restores = true;
  bool saves = true;
};
// Why nothing is.
struct Disabled {
  std::string reason;
  std::string message;
};
using Configured = std::variant<Work, Disabled>;

// Called at most once; with the JSON text, where StartOptions names a source of it. It does not
// wait for anything that may never come.
using Configure = std::function<Configured(const std::optional<std::string>& json)>;

// A plain value.
struct StartOptions {
  std::vector<std::string> command;
  InheritedSignals signals{};
  Context::Clock::time_point began;                // of this process
  std::optional<std::string> events;               // FILE or fd:N
  std::optional<std::string> json;                 // FILE or fd:N
  std::optional<std::chrono::milliseconds> await;  // it may be late: COMMAND waits so long for it
  std::chrono::milliseconds restore_timeout{15'000};
  std::chrono::milliseconds save_timeout{300'000};
  std::chrono::milliseconds settle{2'000};
  std::vector<std::string> exclude{};  // globs: what is not saved, and need not be quiet
  Readiness readiness;
  bool save_on_exit = false;
  bool verbose = false;
};

// Answers COMMAND's exit code: 128 + N where signal N ended it, 127 or 126 where it could not be
// started. For a process of one thread that has no children, and whose signals nobody handles.
int supervise(const StartOptions& options, const Configure& configure);

}  // namespace thaw::run
