// Walking a directory in parallel without holding it: memory is the folders that wait and the
// files with several names, not the tree.
#pragma once

#include <functional>
#include <string>

#include "base/context.h"
#include "format/tree.h"

namespace thaw::golden {

// Work on one folder at a time, each on the next free thread. `visit` lists the folder `path`
// ("" is the root) and answers the folders in it; the deepest come first. Thread-safe visits are
// the caller's care. The first error ends it.
using Visit = std::function<Result<>(const Context&, unsigned worker, const std::string& path,
                                     std::vector<std::string>& folders)>;
Result<> walk_folders(const Context& context, unsigned threads, const Visit& visit);

// What a directory is at a moment.
struct Measure {
  TreeTotals totals;
  // Of all names, their inodes, sizes and times of change: another one means that something in it
  // changed.
  uint64_t fingerprint = 0;
  // A folder that is on another filesystem, or a subvolume of its own; empty: there is none.
  std::string foreign{};
  // Names that an overlayfs would not show as they are: whiteouts, and folders marked opaque.
  bool overlay_marks = false;
  // Files with further names outside: who writes to those, writes here.
  uint64_t linked_outside = 0;
};
// Whether a path below the directory is left out, with all that it holds. Thread-safe.
using LeavesOut = std::function<bool(const std::string& path)>;

// Does not follow links. What vanishes meanwhile is not counted, nor is what is left out; where
// anything may be, times of folders do not count either, for what is left out changes them.
Result<Measure> measure(const Context& context, const std::string& path, unsigned threads,
                        const LeavesOut& leaves_out = {});

}  // namespace thaw::golden
