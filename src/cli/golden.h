// What the words of `thaw golden` share: their options, and how their answers are told.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "format/record.h"
#include "golden/place.h"

namespace thaw::cli {

// As parsed and checked. Which of them a word takes is checked before it runs.
struct GoldenOptions {
  std::string word;               // "promote"
  std::vector<std::string> args;  // what follows it
  // promote
  std::optional<uint64_t> if_generation;
  std::optional<std::chrono::milliseconds> quiesce;
  std::vector<std::string> scrub;
  std::optional<std::string> success_file;
  std::optional<int64_t> started_at_ns;
  std::optional<std::string> stamp;
  std::string source;
  Labels labels;
  bool allow_empty = false;
  bool allow_shrink = false;
  // clone
  bool overlay = false;
  // promote, clone, gc
  std::optional<double> min_free;
  // gc
  uint64_t keep_last = 3;
  std::optional<std::chrono::milliseconds> unused;
  // rm, gc
  bool yes = false;
};

Outcome golden_promote(const Session& session, const golden::Root& root,
                       const GoldenOptions& options);
Outcome golden_clone(const Session& session, const golden::Root& root,
                     const GoldenOptions& options);
Outcome golden_unclone(const Session& session, const golden::Root& root,
                       const GoldenOptions& options);
Outcome golden_ls(const Session& session, const golden::Root& root, const GoldenOptions& options);
Outcome golden_show(const Session& session, const golden::Root& root, const GoldenOptions& options);
Outcome golden_rollback(const Session& session, const golden::Root& root,
                        const GoldenOptions& options);
Outcome golden_rm(const Session& session, const golden::Root& root, const GoldenOptions& options);
Outcome golden_gc(const Session& session, const golden::Root& root, const GoldenOptions& options);

// The outcome of an error for who asked for a golden: not_found is a miss.
Outcome golden_failure(const Error& error);

}  // namespace thaw::cli
