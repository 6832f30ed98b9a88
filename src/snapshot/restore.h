// Restore: a snapshot becomes a directory.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "format/key.h"
#include "format/record.h"
#include "object/store.h"
#include "snapshot/progress.h"
#include "snapshot/transfer.h"

namespace thaw {

enum class RestoreMode {
  replace,  // the target becomes the snapshot, in one step
  merge,    // written over the target; what the snapshot does not name stays
  sync,     // the target is made equal in place; only what differs is touched
};

// A place that replace and sync refuse to take over, itself or a folder above it.
struct ProtectedPath {
  std::string path;         // absolute
  std::string what;         // "the home directory"
  bool nor_inside = false;  // and nothing is restored into it either, in any mode
};

struct RestoreRequest {
  KeyRef ref;
  std::vector<Key> fallbacks{};  // tried in turn, exactly, when `ref` is a miss
  std::string target;
  RestoreMode mode = RestoreMode::replace;
  // With merge: somebody else may fill the target meanwhile. What is in it, or appears in it, stays
  // as it is, and the restore ends (busy).
  bool only_into_empty = false;
  bool owners = true;  // only root can give files away; others restore as themselves
  bool xattrs = true;
  std::vector<ProtectedPath> protected_paths{};
  std::optional<std::string> stat_cache_dir{};
  std::optional<std::string> damage_dir{};  // of KnownDamage: where damage is remembered
  unsigned threads = 1;
  StoreDistance distance = StoreDistance::local;
};

enum class Hit { exact, fallback };

// How the new tree came into place.
enum class Placement {
  swapped,         // one atomic step
  child_by_child,  // the target itself could not be exchanged (a mount point, a lower overlayfs
                   // layer)
  in_place,        // merge, sync
};

struct RestoreReport {
  Hit hit = Hit::exact;
  Key key;
  uint64_t generation = 0;
  TreeIds ids{};
  TreeTotals totals{};
  Placement placement = Placement::swapped;
  uint64_t stored_bytes = 0;   // all frames of the snapshot
  uint64_t fetched_bytes = 0;  // frames fetched by this restore
  uint64_t fetches = 0;        // requests for them
  uint64_t written = 0;        // names created or rewritten
  uint64_t removed = 0;        // sync: names that the snapshot does not have
  uint64_t attributes_skipped =
      0;  // attributes or owners that could not be set (not root, or not supported)
};

// What is known of a restore also when it fails.
struct RestoreTrace {
  std::optional<Placement> placement;  // once it is clear which it is
  bool applied = false;  // the target was changed: some names in it may be old and some new
};

// Nothing is written that was not verified against its digest. With replace the target is the old
// tree or the new one at any moment (Placement::child_by_child promises less: docs/semantics.md);
// an error leaves it as it was, unless `trace`, which may be null, says that it was `applied`. With
// merge and sync another restore of the target is waited for. Errors: not_found (no key matched: a
// miss), invalid (a protected or impossible target), corrupt (names the object), busy (a mount, or
// somebody else at work in the target), denied, exhausted, and what the store answers. `progress`
// may be null.
Result<RestoreReport> restore(const Context& context, ObjectStore& store,
                              const RestoreRequest& request, Progress* progress,
                              RestoreTrace* trace = nullptr);

}  // namespace thaw
