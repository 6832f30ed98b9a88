// Get: an archive becomes a directory, with the promises of a restore.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "archive/block_pipe.h"
#include "archive/decompress.h"
#include "archive/walk.h"
#include "base/context.h"
#include "format/tree.h"
#include "snapshot/progress.h"
#include "snapshot/restore.h"

namespace thaw::archive {

struct GetRequest {
  BlockStream source;
  std::string target;
  RestoreMode mode = RestoreMode::replace;
  WalkOptions walk{};
  bool owners = true;
  bool xattrs = true;
  std::vector<ProtectedPath> protected_paths{};
  unsigned threads = 1;
};

struct GetReport {
  TreeTotals totals{};
  Placement placement = Placement::swapped;
  Compression compression = Compression::none;
  uint64_t fetched_bytes = 0;       // of the archive as it is stored
  uint64_t passed_over = 0;         // as of WalkTotals
  uint64_t written = 0;             // names made, or with merge and sync moved into place
  uint64_t removed = 0;             // sync: names that the archive does not have
  uint64_t attributes_skipped = 0;  // names that no save keeps, and what could not be set here
};

// The target is the old tree or the new one at any moment with RestoreMode::replace (but for
// Placement::child_by_child); an error leaves it as it was, unless `trace`, which may be null, says
// that it was applied. With merge and sync the archive is unpacked as a whole before the first name
// of the target changes. Nothing is made outside the target and its stage, whatever the archive
// says. Errors: not_found (there is no archive), invalid (a protected or impossible target),
// corrupt (the archive, or an entry of it, which is named), exhausted, busy (something is mounted
// in the target), denied, and what the source answers. `progress` may be null.
Result<GetReport> get(const Context& context, const GetRequest& request, Progress* progress,
                      RestoreTrace* trace = nullptr);

}  // namespace thaw::archive
