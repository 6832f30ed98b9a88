// Copying a directory whole, in parallel over its folders.
#pragma once

#include <string>

#include "base/context.h"
#include "format/tree.h"
#include "golden/copy_content.h"
#include "snapshot/progress.h"

namespace thaw::golden {

struct CopyReport {
  TreeTotals totals;
  uint64_t reflinked = 0;           // files whose blocks are shared with the source
  uint64_t copied = 0;              // files whose bytes were copied
  uint64_t attributes_skipped = 0;  // that could not be set for want of privilege or support
};

struct CopyOptions {
  unsigned threads = 1;
  Progress* progress = nullptr;
};

// Makes `to`, an empty folder that nobody else looks at, equal to the folder `from`, its own
// attributes included: names of every type, contents with their holes, hard links, modes, owners
// (for root), times of modification, extended attributes and ACLs. Nothing that is mounted in
// `from` is entered: it is `busy`. The first error ends it; what was made stays for the caller to
// remove. `name` is for messages.
// Memory: the folders that wait or are not finished, and the files with several names.
Result<CopyReport> copy_tree(const Context& context, int from, int to, const std::string& name,
                             const CopyOptions& options);

}  // namespace thaw::golden
