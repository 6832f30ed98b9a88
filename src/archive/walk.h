// The walk: from the entries of an archive, which say what they like, to a tree of sound names.
#pragma once

#include <cstdint>

#include "archive/name_table.h"
#include "archive/tar_reader.h"
#include "archive/tree_sink.h"
#include "base/context.h"
#include "format/tree.h"

namespace thaw::archive {

struct WalkOptions {
  uint32_t strip_components = 0;  // of the names; what has no more than these is passed over
  bool devices = false;           // else they are refused
};

struct WalkTotals {
  TreeTotals tree;
  uint64_t passed_over = 0;  // entries that strip_components left nothing of
};

// Reads the archive to its end and gives what is in it to `sink`, names through `names`, which is
// new. Nothing that an archive says can make a name that lies outside the root, leads through a
// link, or is two things at once. Errors name the entry: corrupt (a name or a target that is
// refused), exhausted (a cap of format/limits.h), and what reader and sink answer.
Result<WalkTotals> walk(const Context& context, TarReader& reader, NameTable& names, TreeSink& sink,
                        const WalkOptions& options);

}  // namespace thaw::archive
