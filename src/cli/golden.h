// What the words of `thaw golden` share: their options, and how their answers are told.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "format/key.h"
#include "format/record.h"
#include "golden/name.h"
#include "golden/place.h"
#include "golden/publish.h"

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
  std::optional<Key> publish;  // also build
  // build
  bool no_wait = false;
  bool if_missing = false;
  // clone
  bool overlay = false;
  // clone, warm, publish
  std::optional<Key> key;
  // warm
  bool newest = false;
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
Outcome golden_build(const Session& session, const golden::Root& root,
                     const GoldenOptions& options);
Outcome golden_publish(const Session& session, const golden::Root& root,
                       const GoldenOptions& options);
Outcome golden_warm(const Session& session, const golden::Root& root, const GoldenOptions& options);
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

// Whether the store may be asked: one that nobody named is not, where the command is advisory.
bool may_ask_store(const Session& session);
// Fetches NAME where this machine lacks it; `key` or the default one.
Result<golden::FetchReport> fetch_golden(const Session& session, const golden::Root& root,
                                         const golden::Name& name, const GoldenOptions& options);
// Publishes the current generation; refused where that is not `if_current` (0: any).
Result<golden::Published> publish_golden(const Session& session, const golden::Root& root,
                                         const golden::Name& name, uint64_t if_current,
                                         const Key& key);
void add_published(Fields& fields, const golden::Published& published);

// The outcome of an error for who asked for a golden: not_found is a miss.
Outcome golden_failure(const Error& error);

}  // namespace thaw::cli
