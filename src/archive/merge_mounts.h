// What is mounted below a directory that an archive is about to be merged into; for merge_tree.cpp.
#pragma once

#include "archive/merge_tree.h"

namespace thaw::archive {

// Code::busy, naming the mount point, when the merge would change, replace or remove anything at or
// below one, as in a restore (snapshot/in_place_mounts.h): nothing can be renamed into it, and what
// is mounted is somebody else's. Other mounts below the target are no matter. An archive is not
// compared with what is there, so that a mount point which it names is always in the way.
Result<> refuse_mounts_in_the_way(const Context& context, int target, const MergeRequest& request);

}  // namespace thaw::archive
