// A job's caches: what restoring and saving one needs, and what becomes of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/environment.h"
#include "base/error.h"
#include "cache/ci.h"
#include "cache/target.h"
#include "object/store.h"
#include "snapshot/restore.h"

namespace thaw::cache {

// What all caches of a job share. The references outlive it; immutable, so thread-safe.
struct Job {
  ObjectStore& store;
  const Environment& environment;
  CiFacts facts;
  std::vector<std::string> scopes;           // the job's own first; at least one
  std::optional<std::string> may_not_write;  // why; empty: it may write its own scope
  Anchors anchors;
  std::vector<ProtectedPath> protected_paths{};
  std::vector<std::string> skip{};  // absolute paths that are never saved
  // Where the targets of all caches of the file lie, absolute: patterns of checksums find nothing
  // there.
  std::vector<std::string> all_targets{};
  std::optional<std::string> stat_cache_dir{};
  std::optional<std::string> damage_dir{};
  int compression_level = 3;
  unsigned threads = 1;  // of each cache
  StoreDistance distance = StoreDistance::local;
  bool force = false;  // save: also what exists
};

enum class State {
  restored,
  equal,  // restore: the targets were it already
  miss,
  saved,
  exists,     // save: the whole key is there
  unchanged,  // save: the newest generations are this tree
  empty,      // save: a target is missing, or none holds anything
  read_only,  // save: this job may not write
  failed,
};
const char* name_of(State state);

// What became of one cache. A plain value.
struct Record {
  std::string name;
  State state = State::failed;
  std::string key_text;                 // its parts, for people; empty until they are known
  std::string key;                      // of the first target, in the store
  std::string scope;                    // whose entry was found or written
  std::optional<Hit> hit{};             // restore: empty for a miss
  uint64_t generation = 0;              // of the first target
  int64_t created_ns = 0;               // of the first target's generation
  uint64_t bytes = 0;                   // of all targets' trees
  uint64_t files = 0;                   //
  uint64_t moved_bytes = 0;             // frames fetched, or written
  std::vector<std::string> retired{};   // KEY@N of generations that were corrupt
  std::vector<std::string> restored{};  // targets in place, also when another one failed
  std::optional<Error> error{};         // of `failed`
  std::string message{};                // why, for people: of empty, read_only and failed
  std::chrono::milliseconds took{0};
};

// A target that is one file is a snapshot of a directory with that file: this label says so.
inline constexpr const char* kTargetLabel = "cache.target";
inline constexpr const char* kFileTarget = "file";
inline constexpr const char* kDirectoryTarget = "directory";

}  // namespace thaw::cache
