// Moving a tree that was made in a stage into a directory that is there, name by name.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "archive/name_table.h"
#include "base/context.h"
#include "snapshot/stage.h"

namespace thaw::archive {

enum class Extra { stays, removed };

struct MergeRequest {
  const NameTable& names;  // of the tree
  // Whether an entry says what a folder is like. One that is there and that no entry speaks of
  // stays as it is.
  std::function<bool(uint32_t id)> speaks_of;
  std::string target_name;  // absolute, without links
  Extra extra = Extra::stays;
};

struct MergeTotals {
  uint64_t placed = 0;   // names that were moved into place
  uint64_t removed = 0;  // names of the target that the tree does not have
};

// Each name of the folder `tree` in `stage` takes its place in the directory `target` by one
// rename, a folder as a whole where nothing of that name is there; folders that both have are
// entered, and get the tree's mode, owner and time; those of the target itself are the caller's.
// What was in the way of another type ends up in the stage. `applied` is set when the first name
// moves: after an error some names are old and some new, each whole. Code::busy, and nothing is
// changed, when something is mounted where a name would change: see merge_mounts.h.
Result<MergeTotals> merge_tree(const Context& context, const Stage& stage, int tree, int target,
                               const MergeRequest& request, bool& applied);

}  // namespace thaw::archive
