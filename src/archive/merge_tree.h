// Moving a tree that was made in a stage into a directory that is there, name by name.
#pragma once

#include <cstdint>

#include "archive/name_table.h"
#include "base/context.h"
#include "snapshot/stage.h"

namespace thaw::archive {

enum class Extra { stays, removed };

struct MergeTotals {
  uint64_t placed = 0;   // names that were moved into place
  uint64_t removed = 0;  // names of the target that the tree does not have
};

// Each name of the folder `tree` in `stage` takes its place in the directory `target` by one
// rename, a folder as a whole where nothing of that name is there; folders that both have are
// entered, and get the tree's mode, owner and time; those of the target itself are the caller's.
// What was in the way of another type ends up in the stage. `applied` is set when the first name
// moves: after an error some names are old and some new, each whole. Nothing may be mounted in the
// target.
Result<MergeTotals> merge_tree(const Context& context, const Stage& stage, int tree, int target,
                               Extra extra, bool& applied);

}  // namespace thaw::archive
