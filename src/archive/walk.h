// The walk: from the entries of an archive, which say what they like, to a tree of sound names.
#pragma once

#include <cstdint>

#include "archive/metadata_budget.h"
#include "archive/name_table.h"
#include "archive/tar_reader.h"
#include "archive/tree_sink.h"
#include "base/context.h"
#include "format/tree.h"

namespace thaw::archive {

struct WalkOptions {
  uint32_t strip_components = 0;  // of the names; what has no more than these is passed over
  bool devices = false;           // else they are refused
  bool xattrs = true;             // else they may be what they like
};

struct WalkTotals {
  TreeTotals tree;
  // Entries that strip_components left nothing of, and staging folders of restores with what is in
  // them: a save leaves these out, too.
  uint64_t passed_over = 0;
  uint64_t attributes_dropped = 0;  // that no save would keep, by their names or on such a file
};

// Reads the archive to its end and gives what is in it to `sink`, names through `names`, which is
// new. Nothing that an archive says can make a name that lies outside the root, leads through a
// link, or is two things at once. Errors name the entry: corrupt (a name, a target, a device number
// or an attribute that no tree can have), exhausted (the budget, or a cap of format/limits.h), and
// what reader and sink answer.
Result<WalkTotals> walk(const Context& context, TarReader& reader, NameTable& names,
                        MetadataBudget& budget, TreeSink& sink, const WalkOptions& options);

}  // namespace thaw::archive
