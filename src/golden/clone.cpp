#include "golden/clone.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "golden/clones.h"
#include "golden/copy_tree.h"
#include "golden/held.h"
#include "golden/overlay.h"
#include "golden/recover.h"
#include "golden/subvolume.h"
#include "snapshot/mounts.h"
#include "snapshot/stage.h"
#include "snapshot/target_lock.h"

namespace thaw::golden {
namespace {

class Cloning {
 public:
  Cloning(const Root& root, const CloneRequest& request, const WallClock& clock, Progress* progress)
      : root_(root),
        request_(request),
        clock_(clock),
        progress_(progress),
        place_(root, request.ref.name) {}

  Result<CloneReport> run(const Context& context);

 private:
  Result<> look_at_clones(const Context& context, const TargetPlace& target, uint64_t generation);
  Result<> mount_again(const Context& context, const TargetPlace& target, const Clone& clone);
  Result<> check_target(const TargetPlace& target) const;
  Result<> make(const Context& context, uint64_t generation, const TargetPlace& target);
  Result<> overlay(const Context& context, const TargetPlace& target, ClaimedClone& claim,
                   uint64_t generation);
  Result<> mount(const Context& context, const TargetPlace& target, const ClaimedClone& claim,
                 uint64_t generation) const;
  Result<> snapshot(const TargetPlace& target, ClaimedClone& claim, uint64_t generation);
  Result<> copy(const Context& context, const TargetPlace& target, ClaimedClone& claim,
                uint64_t generation);
  Result<> check_whole(const CopyReport& copied) const;
  Result<> place_tree(const Stage& stage, const TargetPlace& target) const;

  const Root& root_;
  const CloneRequest& request_;
  const WallClock& clock_;
  Progress* progress_;
  const Place place_;
  CloneReport report_;
};

// Whether there is nothing to do: it is whole already, or is mounted again.
Result<> Cloning::look_at_clones(const Context& context, const TargetPlace& target,
                                 uint64_t generation) {
  THAW_ASSIGN(const auto clones, clones_of(place_));
  for (const Clone& each : clones) {
    if (each.record.target != report_.target) continue;
    const CloneState state = state_of(place_, each);
    const bool is_asked_for = each.record.generation == generation;
    if (state == CloneState::gone) continue;
    const std::string ref = Ref{place_.name(), each.record.generation}.text();
    if (state == CloneState::whole && is_asked_for) report_.unchanged = true;
    if (state == CloneState::whole && !is_asked_for) {
      return Error(Code::exists, fmt::format("{0} is a clone of {1}: `thaw golden unclone {0}` "
                                             "removes it",
                                             report_.target, ref));
    }
    if (state != CloneState::unmounted) continue;
    if (is_asked_for && request_.wanted == Wanted::overlay)
      return mount_again(context, target, each);
    return Error(Code::exists,
                 fmt::format("{0} is an overlay clone of {1} that is not mounted: `thaw golden "
                             "clone {1} {0} --overlay` mounts it, `unclone` removes it",
                             report_.target, ref));
  }
  return {};
}

// What was written there stays, so that nothing else can stand in for it.
Result<> Cloning::mount_again(const Context& context, const TargetPlace& target,
                              const Clone& clone) {
  THAW_CHECK(check_target(target));
  THAW_ASSIGN(std::optional<ClaimedClone> claim, ClaimedClone::take(place_, clone));
  if (!claim) return Error(Code::busy, target.path + " is being made or removed");
  const bool made = !target.exists && ::mkdir(target.path.c_str(), 0700) == 0;
  auto mounted = mount(context, target, *claim, clone.record.generation);
  if (!mounted && made) ::rmdir(target.path.c_str());
  if (!mounted) return mounted;
  report_.method = Method::overlay;
  report_.remounted = true;
  return {};
}

Result<> Cloning::check_target(const TargetPlace& target) const {
  if (!target.exists) return {};
  if (target.is_mount_point)
    return Error(Code::busy, target.path + " is a mount point: clone into a folder in it");
  THAW_ASSIGN(const auto names, list_folder(target.path));
  if (names.empty()) return {};
  return Error(Code::exists, target.path + " is not empty, and no clone of " + request_.ref.text() +
                                 ": nothing was changed");
}

// What came is what was promoted. Bytes are not counted where a stamp was added, which says itself
// how many there are.
Result<> Cloning::check_whole(const CopyReport& copied) const {
  const TreeTotals& is = copied.totals;
  const TreeTotals& was = report_.description.totals;
  const bool same_bytes = report_.description.stamp || is.bytes == was.bytes;
  if (is.files == was.files && is.dirs == was.dirs && is.others == was.others && same_bytes)
    return {};
  return Error(Code::corrupt,
               fmt::format("{} has {} files, {} directories, {} others and {} bytes, and was "
                           "promoted with {}, {}, {} and {}: somebody changed it",
                           place_.tree_of(report_.description.generation), is.files, is.dirs,
                           is.others, is.bytes, was.files, was.dirs, was.others, was.bytes));
}

// rename(2) replaces an empty folder, and nothing else: what appeared meanwhile stays.
Result<> Cloning::place_tree(const Stage& stage, const TargetPlace& target) const {
  auto rename = [&] { return ::renameat(stage.fd(), "tree", AT_FDCWD, target.path.c_str()) == 0; };
  if (rename()) return {};
  if (errno == EACCES) {
    // A folder that moves is itself written (its ".." changes): its owner may have to allow that.
    THAW_ASSIGN(const UniqueFd tree, open_at(stage.fd(), "tree", O_RDONLY | O_DIRECTORY));
    struct stat status {};
    if (::fstat(tree.get(), &status) == 0 && ::fchmod(tree.get(), 0700) == 0) {
      const bool renamed = rename();
      const int fault = errno;
      if (::fchmod(tree.get(), status.st_mode & 07777) != 0)
        log::warn("the mode of {} was not set back", target.path);
      if (renamed) return {};
      errno = fault;
    }
  }
  if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
    return Error(Code::exists, "something appeared in " + target.path + " meanwhile");
  return errno_error(errno, "move into " + target.path);
}

Result<> Cloning::copy(const Context& context, const TargetPlace& target, ClaimedClone& claim,
                       uint64_t generation) {
  const TreeTotals& totals = report_.description.totals;
  if (progress_ != nullptr) progress_->begin("copying", totals.bytes, totals.files);
  THAW_ASSIGN(Stage stage, Stage::make(context, target.parent));
  if (::mkdirat(stage.fd(), "tree", 0700) != 0) return errno_error(errno, "create a tree");
  const std::string tree = place_.tree_of(generation);
  THAW_ASSIGN(const UniqueFd from, open_path(tree, O_RDONLY | O_DIRECTORY));
  THAW_ASSIGN(const UniqueFd to, open_at(stage.fd(), "tree", O_RDONLY | O_DIRECTORY));
  THAW_ASSIGN(const CopyReport copied,
              copy_tree(context, from.get(), to.get(), tree,
                        {.threads = request_.threads, .progress = progress_})
                  .within("copy to " + target.path));
  THAW_CHECK(check_whole(copied));
  report_.reflinked = copied.reflinked;
  report_.copied = copied.copied;
  report_.attributes_skipped = copied.attributes_skipped;
  report_.method = copied.reflinked > 0 ? Method::reflink : Method::copy;
  bool is_there = false;
  claim.record().tree = folder_id_of(target.parent + "/" + stage.name() + "/tree", is_there);
  claim.record().method = report_.method;
  // Before the rename, which makes this true.
  THAW_CHECK(claim.write());
  return place_tree(stage, target);
}

// A mount would lie over whatever another clone put there meanwhile: one at a time, and each looks.
Result<> Cloning::mount(const Context& context, const TargetPlace& target,
                        const ClaimedClone& claim, uint64_t generation) const {
  THAW_ASSIGN(const UniqueFd lock, lock_target(context, target.path));
  THAW_ASSIGN(const bool mounted, is_mount_root(AT_FDCWD, target.path, 0));
  THAW_ASSIGN(const auto names, list_folder(target.path));
  if (mounted || !names.empty())
    return Error(Code::exists, "something appeared in " + target.path + " meanwhile");
  return mount_overlay(place_, generation, claim.id(), target.path);
}

Result<> Cloning::overlay(const Context& context, const TargetPlace& target, ClaimedClone& claim,
                          uint64_t generation) {
  bool made = false;
  if (!target.exists) {
    made = ::mkdir(target.path.c_str(), 0700) == 0;
    if (!made && errno != EEXIST) return errno_error(errno, "create " + target.path);
  }
  auto mounted = mount(context, target, claim, generation);
  if (!mounted) {
    if (made) ::rmdir(target.path.c_str());
    return mounted;
  }
  report_.method = Method::overlay;
  bool is_there = false;
  claim.record().tree = folder_id_of(target.path, is_there);
  auto written = claim.write();
  if (written) return {};
  const auto unmounted = unmount_overlay(claim.id(), target.path);
  if (unmounted && made) ::rmdir(target.path.c_str());
  return written;
}

// In one step, and in place: there is nothing to be staged. `unavailable` where that cannot be.
Result<> Cloning::snapshot(const TargetPlace& target, ClaimedClone& claim, uint64_t generation) {
  THAW_ASSIGN(const UniqueFd parent, open_path(target.parent, O_RDONLY | O_DIRECTORY));
  struct stat was {};
  const bool empty_is_there = ::stat(target.path.c_str(), &was) == 0;
  // Only empty folders go.
  if (empty_is_there && ::rmdir(target.path.c_str()) != 0) {
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
      return Error(Code::exists, "something appeared in " + target.path + " meanwhile");
    return errno_error(errno, "replace " + target.path);
  }
  auto made = snapshot_subvolume(place_.tree_of(generation), parent.get(), target.name);
  if (!made) {
    if (empty_is_there) ::mkdir(target.path.c_str(), was.st_mode & 07777);
    return made;
  }
  report_.method = Method::snapshot;
  bool is_there = false;
  claim.record().tree = folder_id_of(target.path, is_there);
  auto written = claim.write();
  if (written) return {};
  const auto removed = remove_subvolume(Context(), parent.get(), target.name);
  if (!removed) log::warn("{}", removed.error().text());
  return written;
}

Result<> Cloning::make(const Context& context, uint64_t generation, const TargetPlace& target) {
  CloneRecord record;
  record.target = target.path;
  record.generation = generation;
  record.created_at = clock_.now().iso8601();
  if (request_.wanted == Wanted::overlay && report_.description.overlay_marks) {
    report_.fallback = "the tree has marks of an overlayfs in it, which a mount would not show";
    log::warn("no overlay: {}", report_.fallback);
  } else if (request_.wanted == Wanted::overlay) {
    record.method = Method::overlay;
    record.made_target = !target.exists;
    THAW_ASSIGN(ClaimedClone claim, ClaimedClone::make(place_, record));
    auto done = overlay(context, target, claim, generation);
    if (done) return {};
    THAW_CHECK(remove_overlay(Context(), place_, claim.id()));
    THAW_CHECK(claim.remove());
    if (done.error().code() != Code::unavailable) return done;
    report_.fallback = done.error().text();
    log::warn("no overlay: {}", report_.fallback);
    record.method = Method::copy;
    record.made_target = false;
  }
  if (is_on_btrfs(target.parent) && subvolume_at(place_.tree_of(generation))) {
    record.method = Method::snapshot;
    THAW_ASSIGN(ClaimedClone claim, ClaimedClone::make(place_, record));
    auto done = snapshot(target, claim, generation);
    if (done) return {};
    THAW_CHECK(claim.remove());
    if (done.error().code() != Code::unavailable) return done;
    log::info("no snapshot: {}", done.error().text());
    record.method = Method::copy;
  }
  THAW_ASSIGN(ClaimedClone claim, ClaimedClone::make(place_, record));
  auto done = copy(context, target, claim, generation);
  if (!done) THAW_CHECK(claim.remove());
  return done;
}

Result<CloneReport> Cloning::run(const Context& context) {
  if (!place_.exists()) return Error(Code::not_found, "no golden " + request_.ref.text());
  THAW_CHECK(recover(context, place_));
  THAW_ASSIGN(const HeldGeneration source, hold_generation(context, place_, request_.ref));
  THAW_ASSIGN(report_.description, place_.description(source.number));
  THAW_ASSIGN(const TargetPlace target, locate_target(request_.target));
  report_.target = target.path;
  auto done = [&]() -> Result<> {
    THAW_CHECK(check_apart(root_, target.path, "the target"));
    THAW_CHECK(check_unprotected(target.path, request_.protected_paths, "a place for a clone"));
    THAW_CHECK(look_at_clones(context, target, source.number));
    if (report_.unchanged || report_.remounted) return {};
    THAW_CHECK(check_target(target));
    THAW_CHECK(check_room(target.exists ? target.path : target.parent, request_.min_free));
    return make(context, source.number, target);
  }();
  if (!done) remove_made_parents(target);
  if (!done) return std::move(done).error();
  place_.touch(source.number);
  return report_;
}

// --- the end of a clone

Result<> check_nothing_mounted_in(const std::string& path) {
  const auto mounts = mounts_below(path);
  if (mounts.empty()) return {};
  return Error(Code::busy, "something is mounted on " + path + "/" + mounts.front());
}

Result<> remove_copy(const Context& context, const std::string& target) {
  THAW_ASSIGN(const TargetPlace place, locate_target(target));
  THAW_ASSIGN(Stage stage, Stage::make(context, place.parent));
  if (::renameat(AT_FDCWD, target.c_str(), stage.fd(), "tree") != 0)
    return errno_error(errno, "move away " + target);
  return stage.remove(context);
}

// Waits for another process at work on it: often one that only looks whether it is whole.
Result<ClaimedClone> claim(const Context& context, const Place& place, const Clone& clone) {
  const Context patient = context.within(kLockPatience);
  while (true) {
    THAW_ASSIGN(std::optional<ClaimedClone> claim, ClaimedClone::take(place, clone));
    if (claim) return *std::move(claim);
    if (state_of(place, clone) == CloneState::gone)
      return Error(Code::not_found, clone.record.target + " is no clone any more");
    if (pause(patient, std::chrono::milliseconds(5))) continue;
    THAW_CHECK(context.alive());
    return Error(Code::busy, clone.record.target + " is being made or removed");
  }
}

Result<> end_clone(const Context& context, const Place& place, const Clone& clone) {
  THAW_ASSIGN(const ClaimedClone claimed, claim(context, place, clone));
  if (clone.record.method == Method::snapshot) {
    THAW_ASSIGN(const TargetPlace target, locate_target(clone.record.target));
    THAW_ASSIGN(const UniqueFd parent, open_path(target.parent, O_RDONLY | O_DIRECTORY));
    THAW_CHECK(remove_subvolume(context, parent.get(), target.name));
    return claimed.remove();
  }
  if (clone.record.method != Method::overlay) {
    THAW_CHECK(remove_copy(context, clone.record.target));
    return claimed.remove();
  }
  THAW_CHECK(unmount_overlay(clone.id, clone.record.target));
  THAW_CHECK(check_overlay_is_free(place, clone.record.generation, clone.id));
  THAW_CHECK(remove_overlay(context, place, clone.id));
  if (clone.record.made_target) ::rmdir(clone.record.target.c_str());
  return claimed.remove();
}

}  // namespace

Result<CloneReport> clone(const Context& context, const Root& root, const CloneRequest& request,
                          const WallClock& clock, Progress* progress) {
  return Cloning(root, request, clock, progress).run(context);
}

namespace {

// What a record may call it: a clone's folder may be gone, or something else by now.
Result<std::vector<std::string>> names_of_target(const std::string& target) {
  std::vector<std::string> names;
  if (auto real = real_path(target)) names.push_back(*std::move(real));
  std::string path = target;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (auto real = real_path(parent)) {
    std::string name = (*real == "/" ? "" : *real) + "/" + path.substr(slash + 1);
    if (names.empty() || names.front() != name) names.push_back(std::move(name));
  }
  if (names.empty()) return Error(Code::not_found, target + " is no clone");
  return names;
}

}  // namespace

Result<UncloneReport> unclone(const Context& context, const Root& root, const std::string& target) {
  THAW_ASSIGN(const auto names, names_of_target(target));
  for (const Name& name : names_in(root)) {
    const Place place(root, name);
    // The damage of one golden keeps no other's clone.
    const auto recovered = recover(context, place);
    if (!recovered) log::warn("{}: {}", name.text(), recovered.error().text());
    THAW_ASSIGN(const auto clones, clones_of(place));
    for (const Clone& each : clones) {
      const bool is_it = std::find(names.begin(), names.end(), each.record.target) != names.end();
      if (!is_it || state_of(place, each) == CloneState::gone) continue;
      THAW_CHECK(check_nothing_mounted_in(each.record.target));
      THAW_CHECK(end_clone(context, place, each));
      return UncloneReport{.name = name,
                           .generation = each.record.generation,
                           .target = each.record.target,
                           .method = each.record.method};
    }
  }
  return Error(Code::not_found, names.front() + " is no clone of this golden root");
}

}  // namespace thaw::golden
