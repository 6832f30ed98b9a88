#include "archive/merge_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "archive/merge_mounts.h"
#include "base/beneath.h"
#include "base/log.h"

namespace thaw::archive {
namespace {

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

Result<std::set<std::string>> names_in(int folder) {
  THAW_ASSIGN(UniqueFd fd, open_at(folder, ".", O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, CloseFolder> listing(::fdopendir(fd.get()));
  if (!listing) return errno_error(errno, "list a folder");
  static_cast<void>(fd.release());
  std::set<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(listing.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.insert(name);
  }
  if (errno != 0) return errno_error(errno, "list a folder");
  return names;
}

bool is_folder(int at, const std::string& name) {
  struct stat status {};
  return ::fstatat(at, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

Result<struct stat> status_of(int folder) {
  struct stat status {};
  if (::fstat(folder, &status) != 0) return errno_error(errno, "stat a folder");
  return status;
}

bool is_writable(mode_t mode) { return (mode & 0700) == 0700; }

// Not fchmod: a descriptor of what may not be read takes only paths.
bool change_mode(int folder, mode_t mode) {
  return ::chmod(("/proc/self/fd/" + std::to_string(folder)).c_str(), mode) == 0;
}

// Opens a folder and lets its owner list and change it, whatever its mode, which is `before`; that
// is set before the mode changes.
Result<UniqueFd> open_writable(int root, std::string_view path, mode_t& before) {
  auto opened = open_beneath(root, path, O_RDONLY | O_DIRECTORY);
  const bool closed = !opened && opened.error().code() == Code::denied;
  THAW_ASSIGN(const UniqueFd place,
              closed ? open_beneath(root, path, O_PATH | O_DIRECTORY) : std::move(opened));
  THAW_ASSIGN(const struct stat status, status_of(place.get()));
  before = status.st_mode & 07777;
  if (!is_writable(before) && !change_mode(place.get(), before | 0700)) {
    return errno_error(errno, "change a folder's mode");
  }
  return open_at(place.get(), ".", O_RDONLY | O_DIRECTORY);
}

class Merge {
 public:
  Merge(const Context& context, const Stage& stage, int tree, int target,
        const MergeRequest& request, bool& applied)
      : context_(context),
        stage_(stage),
        tree_(tree),
        target_(target),
        request_(request),
        applied_(applied) {}

  Result<MergeTotals> run() {
    auto done = merge_folders();
    if (!done) close_again();
    return done;
  }

 private:
  struct Folder {
    std::string path;
    uint32_t id = 0;
    struct stat fresh {};  // as the archive has it, but for the mode
    mode_t fresh_mode = 0;
    mode_t old_mode = kUnknown;
  };
  static constexpr mode_t kUnknown = ~mode_t{0};  // it was not opened, and nothing was changed

  static std::string below(const std::string& path, const std::string& name) {
    return path.empty() ? name : path + "/" + name;
  }

  Result<MergeTotals> merge_folders() {
    folders_.emplace_back();
    // Folders that both have are appended as they are met.
    for (size_t i = 0; i < folders_.size(); ++i) {
      THAW_CHECK(merge_folder(i).within("the target"));
    }
    // The deepest first: what is changed in one changes its time.
    while (folders_.size() > 1) {
      THAW_CHECK(give_attributes(folders_.back()));
      folders_.pop_back();
    }
    return totals_;
  }

  // After an error: the modes of folders that were opened for a while, the deepest first.
  void close_again() {
    for (auto folder = folders_.rbegin(); folder != folders_.rend(); ++folder) {
      if (folder->old_mode == kUnknown || is_writable(folder->old_mode)) continue;
      const auto place = open_beneath(target_, folder->path, O_PATH | O_DIRECTORY);
      if (!place || !change_mode(place->get(), folder->old_mode)) {
        log::warn("the mode of {} was not set back", folder->path);
      }
    }
  }

  Result<> merge_folder(size_t number) {
    const std::string path = folders_[number].path;
    const uint32_t id = folders_[number].id;
    THAW_ASSIGN(const UniqueFd fresh, open_writable(tree_, path, folders_[number].fresh_mode));
    THAW_ASSIGN(folders_[number].fresh, status_of(fresh.get()));
    THAW_ASSIGN(const UniqueFd old, open_writable(target_, path, folders_[number].old_mode));
    THAW_ASSIGN(const std::set<std::string> names, names_in(fresh.get()));
    for (const std::string& name : names) {
      THAW_CHECK(context_.alive());
      const bool brings_folder = is_folder(fresh.get(), name);
      if (brings_folder && is_folder(old.get(), name)) {
        Folder both;
        both.path = below(path, name);
        both.id = request_.names.find(id, name);
        folders_.push_back(std::move(both));
        continue;
      }
      applied_ = true;
      THAW_CHECK(place(fresh.get(), old.get(), path, name));
    }
    if (request_.extra == Extra::stays) return {};
    THAW_ASSIGN(const std::set<std::string> there, names_in(old.get()));
    for (const std::string& name : there) {
      if (names.count(name) != 0 || (path.empty() && name == stage_.name())) continue;
      applied_ = true;
      THAW_CHECK(remove_tree(context_, old.get(), name).within("remove " + below(path, name)));
      ++totals_.removed;
    }
    return {};
  }

  Result<> place(int fresh, int old, const std::string& path, const std::string& name) {
    ++totals_.placed;
    const bool brings_folder = is_folder(fresh, name);
    struct stat status {};
    const bool there = ::fstatat(old, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    const bool takes_folder = there && S_ISDIR(status.st_mode);
    // A folder that moves to another parent has to be writable to its owner meanwhile.
    mode_t fresh_mode = 0;
    mode_t old_mode = 0;
    UniqueFd moved;
    UniqueFd replaced;
    if (brings_folder) {
      THAW_ASSIGN(moved, open_writable(fresh, name, fresh_mode));
    }
    if (takes_folder) {
      THAW_ASSIGN(replaced, open_writable(old, name, old_mode));
    }
    // A file takes the place of a file in one step; types that do not go over one another change
    // places, and the old one goes with the stage.
    const unsigned how = there && (brings_folder || takes_folder) ? RENAME_EXCHANGE : 0;
    if (::renameat2(fresh, name.c_str(), old, name.c_str(), how) != 0) {
      const int error = errno;
      if (takes_folder) THAW_CHECK(set_mode(replaced.get(), old_mode, below(path, name)));
      return errno_error(error, "move " + below(path, name) + " into place");
    }
    if (!brings_folder || is_writable(fresh_mode)) return {};
    return set_mode(moved.get(), fresh_mode, below(path, name));
  }

  static Result<> set_mode(int folder, mode_t mode, const std::string& name) {
    if (::fchmod(folder, mode) == 0) return {};
    return errno_error(errno, "change the mode of " + name);
  }

  Result<> give_attributes(const Folder& folder) {
    const std::string& name = folder.path;
    THAW_ASSIGN(const UniqueFd fd, open_beneath(target_, folder.path, O_RDONLY | O_DIRECTORY));
    if (!request_.speaks_of(folder.id)) return set_mode(fd.get(), folder.old_mode, name);
    const struct stat& fresh = folder.fresh;
    if (::fchown(fd.get(), fresh.st_uid, fresh.st_gid) != 0 && errno != EPERM) {
      return errno_error(errno, "change the owner of " + name);
    }
    THAW_CHECK(set_mode(fd.get(), folder.fresh_mode, name));
    const struct timespec times[2] = {{0, UTIME_OMIT}, fresh.st_mtim};
    if (::futimens(fd.get(), times) != 0) return errno_error(errno, "change the time of " + name);
    return {};
  }

  const Context& context_;
  const Stage& stage_;
  const int tree_;
  const int target_;
  const MergeRequest& request_;
  bool& applied_;
  std::vector<Folder> folders_;  // that both have, parents first
  MergeTotals totals_;
};

}  // namespace

Result<MergeTotals> merge_tree(const Context& context, const Stage& stage, int tree, int target,
                               const MergeRequest& request, bool& applied) {
  THAW_CHECK(refuse_mounts_in_the_way(context, target, request));
  return Merge(context, stage, tree, target, request, applied).run();
}

}  // namespace thaw::archive
