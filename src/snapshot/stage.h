// Staging: a new tree is made in a private folder near its target, and then takes its place.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "base/fd.h"
#include "snapshot/restore.h"

namespace thaw {

// Staging folders are called so, followed by 32 lower-case hexadecimal digits. A save leaves them
// out.
inline constexpr std::string_view kStagePrefix = ".thaw-stage-";
bool is_stage_name(std::string_view name);

// Removes `name` below `folder` with all that is in it; does not follow links, and does not leave
// the filesystem it is on. What is not there is no error.
Result<> remove_tree(const Context& context, int folder, const std::string& name);

// Removes the staging folders in `place` that no process holds: what interrupted restores left.
// Best-effort: what stays is logged.
void remove_abandoned_stages(const Context& context, int place);

// A private folder (mode 0700) that its process holds a lock on. The destructor removes it; after a
// crash the lock is gone, and the next Stage::make in the same place removes it.
class Stage {
 public:
  // In the existing folder `place`.
  static Result<Stage> make(const Context& context, const std::string& place);
  Stage(Stage&&) noexcept = default;
  Stage& operator=(Stage&&) = delete;
  ~Stage();

  int fd() const { return fd_.get(); }
  const std::string& name() const { return name_; }
  // Removes it now, rather than in the destructor.
  Result<> remove(const Context& context);

 private:
  Stage() = default;
  UniqueFd place_;
  UniqueFd fd_;  // holds the lock
  std::string name_;
};

// Where a target really is: links resolved, missing parents not yet made.
struct TargetPlace {
  std::string path;    // absolute
  std::string parent;  // absolute
  std::string name;
  bool exists = false;
  bool is_mount_point = false;
  std::vector<std::string> made{};  // parents that were missing: the topmost first
};
// Makes the parents that are missing. Refuses what is no directory.
Result<TargetPlace> locate_target(const std::string& target);
// After a failure: removes those parents again that are empty.
void remove_made_parents(const TargetPlace& place);

// Puts the folder `name` of the stage in the target's place: in one step where the filesystem can,
// else child by child. What was there before is then in the stage, or gone. Attributes of the
// target itself are those of the new folder only after a swap: Placement::child_by_child leaves
// them to the caller. `applied` is set when the first child moves: an error after that leaves some
// children old and some new.
Result<Placement> take_place(const Context& context, Stage& stage, const std::string& name,
                             const TargetPlace& target, bool& applied);

}  // namespace thaw
