// Save: a directory becomes the next generation of a key.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "format/key.h"
#include "format/record.h"
#include "object/store.h"
#include "snapshot/policy.h"
#include "snapshot/progress.h"
#include "snapshot/transfer.h"

namespace thaw {

// What must be equal for a tree to count as unchanged.
enum class UnchangedBy {
  all,      // everything: the snapshot id
  content,  // all but times and owners: the content id
};

struct SaveRequest {
  Key key;
  std::string path;             // the directory
  std::vector<Key> also{};      // published under these keys too
  std::vector<KeyRef> bases{};  // further snapshots to deduplicate against
  Labels labels{};
  std::vector<std::string> exclude{};  // globs (snapshot/glob.h) on paths below `path`
  std::vector<std::string> image{};    // globs: files cut into fixed aligned pieces, zeros left out
  std::vector<std::string> skip{};     // absolute paths that are never saved: the store itself
  UnchangedBy unchanged_by = UnchangedBy::all;
  bool labels_matter = false;  // a tree whose newest generation has other labels is published anew
  Policy policy{};
  std::optional<std::string> stat_cache_dir{};  // empty: every file is read
  std::optional<std::string> damage_dir{};      // of KnownDamage: what counts as missing
  int compression_level = 3;
  unsigned threads = 1;
  StoreDistance distance = StoreDistance::local;
  // Asked when everything is stored and nothing is published yet; its error is that of the save,
  // and nothing is published. May be empty. Called at most once, by the thread that saves.
  std::function<Result<>(const Context&)> before_publishing{};
};

enum class SaveOutcome { saved, unchanged, refused_empty, refused_shrunken };

struct SaveReport {
  SaveOutcome outcome = SaveOutcome::saved;
  uint64_t generation = 0;  // of the request's key: the new one, or the equal one when unchanged
  struct Published {
    Key key;
    uint64_t generation;
  };
  std::vector<Published> also{};  // for each --also key, likewise
  TreeIds ids{};
  TreeTotals totals{};
  uint64_t stored_bytes = 0;  // all frames that the snapshot needs
  uint64_t new_bytes = 0;     // frames that this save wrote
  uint64_t files_read = 0;    // the others were known by the stat cache
  uint64_t sockets_skipped = 0;
  uint64_t vanished = 0;               // were listed, and gone when they were to be read
  std::vector<std::string> skipped{};  // those of SaveRequest::skip, and stages, that were met
  bool labels_dropped = false;         // unchanged, and its labels are not the request's
};

// Publishes at most once per key and only when everything is durable; a failure or a crash leaves
// nothing visible. Errors: not_found (no such directory), busy (a file changed at each of three
// readings; the message names it), denied, exhausted, and what the store answers.
// A refusal by Policy is an outcome, not an error. A generation whose manifest or packs are missing
// or known to be damaged is no base and is published anew, as docs/semantics.md says. `progress`
// may be null.
Result<SaveReport> save(const Context& context, ObjectStore& store, const SaveRequest& request,
                        Progress* progress);

}  // namespace thaw
