// What all who make a directory anew have in common: which targets are refused, where the new tree
// is staged, and how it takes its place.
#pragma once

#include <string>
#include <vector>

#include "base/context.h"
#include "snapshot/progress.h"
#include "snapshot/restore.h"
#include "snapshot/stage.h"

namespace thaw {

// Code::invalid for a target that `mode` must not take over.
Result<> refuse_protected_target(const std::string& target, RestoreMode mode,
                                 const std::vector<ProtectedPath>& protected_paths);

// locate_target() for who has found what is to go there: not_found is for keys, and a miss; a place
// where nothing can be made is Code::denied.
Result<TargetPlace> locate_restore_target(const std::string& target);

// Once the target is located no error is one of the caller's words: a path is not what it was a
// moment ago, or the filesystem takes a name or an attribute for wrong.
Error not_of_the_caller(Error error);

// Code::busy when something is mounted below the target: it would go with it.
Result<> refuse_mounts_in_target(const TargetPlace& target);

// Who makes the tree that replaces a target. One thread at a time.
class NewTree {
 public:
  virtual ~NewTree() = default;
  // Fills an empty private folder.
  virtual Result<> make(int folder) = 0;
  // After make(): the mode of the root, and all that it has, set on an open folder.
  virtual uint32_t root_mode() const = 0;
  virtual Result<> set_root_attributes(int fd) = 0;
  // It is in place; the old tree is not yet removed.
  virtual void placed() = 0;
};

// The target is the old tree or the new one at any moment, but for Placement::child_by_child. An
// error leaves it as it was, unless `trace` says that it was applied. `progress` may be null.
Result<Placement> replace_target(const Context& context, const TargetPlace& target, NewTree& tree,
                                 Progress* progress, RestoreTrace& trace);

}  // namespace thaw
