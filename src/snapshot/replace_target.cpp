#include "snapshot/replace_target.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/log.h"
#include "snapshot/mounts.h"

namespace thaw {
namespace {

bool is_at_or_below(const std::string& path, const std::string& folder) {
  if (folder == "/") return true;
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

// Absolute, with the links of its longest existing part resolved.
std::string resolved(const std::string& path) {
  std::error_code fault;
  const auto real = std::filesystem::weakly_canonical(path, fault);
  std::string text = fault ? path : real.string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

class Replacement {
 public:
  Replacement(const Context& context, const TargetPlace& target, NewTree& tree, Progress* progress,
              RestoreTrace& trace)
      : context_(context), target_(target), tree_(tree), progress_(progress), trace_(trace) {}

  Result<Placement> run() {
    THAW_CHECK(refuse_mounts_in_target(target_));
    struct stat before {};
    const bool known = target_.exists && ::stat(target_.path.c_str(), &before) == 0;
    auto done = replace_from_stage();
    if (!done && trace_.applied && !trace_.placement) trace_.placement = Placement::child_by_child;
    // Nothing was changed but for the stage, which is gone again.
    if (!done && inside_ && known && !trace_.applied) {
      const struct timespec times[2] = {{0, UTIME_OMIT}, before.st_mtim};
      if (::utimensat(AT_FDCWD, target_.path.c_str(), times, 0) != 0)
        log::warn("the time of {} was not set back", target_.path);
    }
    return done;
  }

 private:
  // Beside the target where that is possible: only there can the whole change in one step.
  Result<Stage> make_stage() {
    if (!target_.is_mount_point) {
      auto beside = Stage::make(context_, target_.parent);
      if (beside || !target_.exists || beside.error().code() != Code::denied) return beside;
      log::info("staging inside {}: {}", target_.path, beside.error().text());
    }
    inside_ = true;
    return Stage::make(context_, target_.path);
  }

  Result<Placement> replace_from_stage() {
    THAW_ASSIGN(Stage stage, make_stage());
    if (::mkdirat(stage.fd(), "tree", 0700) != 0)
      return errno_error(errno, "create a folder in the stage");
    THAW_ASSIGN(const UniqueFd folder, open_at(stage.fd(), "tree", O_RDONLY | O_DIRECTORY));
    THAW_CHECK(tree_.make(folder.get()));
    // A folder that moves to another parent must be writable to its owner.
    const uint32_t mode = tree_.root_mode();
    const bool opened = (mode & 0200U) == 0;
    if (opened && ::fchmod(folder.get(), mode | 0200U) != 0)
      return errno_error(errno, "change the stage's mode");
    THAW_CHECK(refuse_mounts_in_target(target_));  // again: making it may have taken long
    if (inside_) trace_.placement = Placement::child_by_child;
    THAW_ASSIGN(const Placement placement,
                take_place(context_, stage, "tree", target_, trace_.applied));
    trace_ = {placement, true};
    tree_.placed();
    if (progress_ != nullptr) progress_->begin("removing the old tree", 0, 0);
    // The new tree is in place: whatever happens to the old one now is no failure.
    const auto removed = stage.remove(context_);
    if (!removed)
      log::warn("a staging folder stays until the next restore: {}", removed.error().text());
    if (opened || placement == Placement::child_by_child) {
      THAW_ASSIGN(const UniqueFd fd, open_path(target_.path, O_RDONLY | O_DIRECTORY));
      THAW_CHECK(tree_.set_root_attributes(fd.get()));
    }
    return placement;
  }

  const Context& context_;
  const TargetPlace& target_;
  NewTree& tree_;
  Progress* const progress_;
  RestoreTrace& trace_;
  bool inside_ = false;  // the stage lies in the target
};

}  // namespace

Result<> refuse_protected_target(const std::string& target, RestoreMode mode,
                                 const std::vector<ProtectedPath>& protected_paths) {
  const std::string real_target = resolved(target);
  for (const ProtectedPath& each : protected_paths) {
    const std::string path = resolved(each.path);
    if (each.nor_inside && is_at_or_below(real_target, path)) {
      return Error(Code::invalid, target + " lies in " + each.what + " (" + each.path +
                                      "): nothing is restored there");
    }
    if (mode == RestoreMode::merge || !is_at_or_below(path, real_target)) continue;
    return Error(Code::invalid,
                 target + " is, or holds, " + each.what + " (" + each.path +
                     "): it is never replaced as a whole; use --mode merge, or another directory");
  }
  return {};
}

Result<TargetPlace> locate_restore_target(const std::string& target) {
  auto place = locate_target(target);
  if (!place && place.error().code() == Code::not_found)
    return Error(Code::denied, place.error().text());
  return place;
}

Error not_of_the_caller(Error error) {
  if (error.code() == Code::not_found) return {Code::busy, error.text()};
  if (error.code() == Code::invalid) return {Code::internal, error.text()};
  return error;
}

Result<> refuse_mounts_in_target(const TargetPlace& target) {
  if (!target.exists) return {};
  const std::vector<std::string> mounts = mounts_below(target.path);
  if (mounts.empty()) return {};
  return Error(Code::busy, target.path + "/" + mounts.front() +
                               " is a mount point in what is to be replaced: unmount it, or "
                               "restore to another directory");
}

Result<Placement> replace_target(const Context& context, const TargetPlace& target, NewTree& tree,
                                 Progress* progress, RestoreTrace& trace) {
  return Replacement(context, target, tree, progress, trace).run();
}

}  // namespace thaw
