#include "snapshot/stage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "base/log.h"
#include "base/random.h"
#include "snapshot/mounts.h"
#include "snapshot/target_lock.h"

namespace thaw {
namespace {

Result<std::vector<std::string>> names_in(int folder, const std::string& what) {
  THAW_ASSIGN(UniqueFd fd, open_at(folder, ".", O_RDONLY | O_DIRECTORY));
  DIR* stream = ::fdopendir(fd.get());
  if (stream == nullptr) return errno_error(errno, "list " + what);
  const std::unique_ptr<DIR, int (*)(DIR*)> owner(stream, &::closedir);
  if (fd.release() < 0) return Error(Code::internal, "a descriptor was lost");
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(stream);
    if (entry == nullptr && errno != 0) return errno_error(errno, "list " + what);
    if (entry == nullptr) return names;
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) {
      names.emplace_back(entry->d_name);
    }
  }
}

bool vanished(int error) { return error == ENOENT; }

Error is_mounted(const std::string& name) {
  return {Code::busy, name + " is a mount point: it is not removed"};
}

// Opens a folder to empty it, even one whose mode forbids that to its owner; never one that lies
// beyond a mount, which it does not touch.
Result<UniqueFd> open_to_empty(int folder, const std::string& name, dev_t device) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  auto opened = open_at(folder, name, kFlags);
  if (!opened && opened.error().code() == Code::denied) {
    THAW_ASSIGN(const bool mounted, is_mount_root(folder, name, device));
    if (mounted) return is_mounted(name);
    if (::fchmodat(folder, name.c_str(), 0700, 0) != 0) return opened;
    opened = open_at(folder, name, kFlags);
  }
  if (!opened) return opened;
  struct stat status {};
  if (::fstat(opened->get(), &status) != 0) return errno_error(errno, "stat " + name);
  THAW_ASSIGN(const bool mounted, is_mount_root(opened->get(), "", device));
  if (mounted || status.st_dev != device) return is_mounted(name);
  if ((status.st_mode & 0700) != 0700) ::fchmod(opened->get(), 0700);
  return opened;
}

Result<> remove_entry(const Context& context, int folder, const std::string& name, dev_t device,
                      int depth);

Result<> empty_folder(const Context& context, int folder, const std::string& name, dev_t device,
                      int depth) {
  auto opened = open_to_empty(folder, name, device);
  if (!opened && opened.error().code() == Code::not_found) return {};
  if (!opened) return std::move(opened).error();
  THAW_ASSIGN(const auto names, names_in(opened->get(), name));
  for (const std::string& each : names) {
    THAW_CHECK(remove_entry(context, opened->get(), each, device, depth + 1));
  }
  return {};
}

// `device` is the folder's: nothing below a mount is removed, nor on another filesystem.
Result<> remove_entry(const Context& context, int folder, const std::string& name, dev_t device,
                      int depth) {
  // A folder may hold names for many seconds.
  THAW_CHECK(context.alive());
  if (::unlinkat(folder, name.c_str(), 0) == 0 || vanished(errno)) return {};
  const int refusal = errno;
  // The latter two may mean a file, too: an immutable one, or one that something is mounted on.
  if (refusal != EISDIR && refusal != EPERM && refusal != EBUSY)
    return errno_error(refusal, "remove " + name);
  struct stat status {};
  if (refusal != EISDIR && ::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
      !S_ISDIR(status.st_mode)) {
    return errno_error(refusal, "remove " + name);
  }
  constexpr int kDeepest = 4096;  // each level holds a descriptor
  if (depth > kDeepest) return Error(Code::exhausted, "a tree too deep to remove");
  THAW_CHECK(empty_folder(context, folder, name, device, depth));
  if (::unlinkat(folder, name.c_str(), AT_REMOVEDIR) == 0 || vanished(errno)) return {};
  return errno_error(errno, "remove " + name);
}

}  // namespace

bool is_stage_name(std::string_view name) {
  if (!name.starts_with(kStagePrefix)) return false;
  name.remove_prefix(kStagePrefix.size());
  const auto id = RandomId::parse(name);
  return id && id->hex() == name;
}

Result<> remove_tree(const Context& context, int folder, const std::string& name) {
  struct stat status {};
  if (::fstat(folder, &status) != 0) return errno_error(errno, "stat the folder of " + name);
  return remove_entry(context, folder, name, status.st_dev, 0);
}

void remove_abandoned_stages(const Context& context, int place) {
  const auto names = names_in(place, "the target's folder");
  if (!names) return;
  for (const std::string& name : *names) {
    if (!is_stage_name(name)) continue;
    const auto fd = open_at(place, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!fd || ::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) continue;
    const auto removed = remove_tree(context, place, name);
    if (removed)
      log::info("removed {}, which an interrupted restore had left", name);
    else
      log::warn("{} of an interrupted restore stays: {}", name, removed.error().text());
  }
}

Result<Stage> Stage::make(const Context& context, const std::string& place) {
  Stage stage;
  THAW_ASSIGN(stage.place_, open_path(place, O_RDONLY | O_DIRECTORY));
  remove_abandoned_stages(context, stage.place_.get());
  // Between mkdir and flock another process may take it for abandoned: then a new name is tried.
  for (int attempt = 0; attempt < 10; ++attempt) {
    const std::string name = std::string(kStagePrefix) + RandomId::fresh().hex();
    if (::mkdirat(stage.place_.get(), name.c_str(), 0700) != 0) {
      const Error error = errno_error(errno, "create a staging folder in " + place);
      // The folder is there, and takes no new names: /proc.
      if (error.code() == Code::not_found) return Error(Code::denied, error.message());
      return error;
    }
    auto fd = open_at(stage.place_.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!fd) continue;
    struct stat status {};
    if (::flock(fd->get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(fd->get(), &status) != 0 ||
        status.st_nlink == 0) {
      continue;
    }
    // New files would inherit a default ACL of the place and differ from what was saved.
    ::fremovexattr(fd->get(), "system.posix_acl_default");
    ::fremovexattr(fd->get(), "system.posix_acl_access");
    ::fchmod(fd->get(), 0700);
    stage.name_ = name;
    stage.fd_ = *std::move(fd);
    return stage;
  }
  return Error(Code::busy, "cannot keep a staging folder in " + place);
}

Result<> Stage::remove(const Context& context) {
  if (name_.empty()) return {};
  THAW_CHECK(remove_tree(context, place_.get(), name_));
  name_.clear();
  return {};
}

Stage::~Stage() {
  if (name_.empty() || !place_.valid()) return;
  // After Ctrl-C there is under a second for this; what is left then is the next run's to remove.
  const Context root;  // outlives its child
  const Context brief = root.within(std::chrono::milliseconds(700));
  const auto removed = remove(brief);
  if (!removed)
    log::info("a staging folder stays until the next restore: {}", removed.error().text());
}

namespace {

Result<bool> is_mount_point(const TargetPlace& place) {
  struct stat parent {};
  if (::stat(place.parent.c_str(), &parent) != 0) return errno_error(errno, "stat " + place.parent);
  if (place.path == "/") return true;
  return is_mount_root(AT_FDCWD, place.path, parent.st_dev);
}

// The longest part of `path` that is there stays as it is; what follows is made.
Result<> make_parents(const std::string& path, std::vector<std::string>& made) {
  std::vector<std::string> missing;
  struct stat status {};
  for (std::string at = path; !at.empty() && ::stat(at.c_str(), &status) != 0 && errno == ENOENT;) {
    missing.push_back(at);
    const size_t slash = at.rfind('/');
    at.resize(slash == std::string::npos ? 0 : slash);
    while (at.size() > 1 && at.back() == '/') at.pop_back();
  }
  for (; !missing.empty(); missing.pop_back()) {
    const std::string& folder = missing.back();
    if (::mkdir(folder.c_str(), 0777) == 0) {
      made.push_back(folder);
    } else if (errno != EEXIST) {
      return errno_error(errno, "create directory " + folder);
    }
  }
  return {};
}

Result<> locate_new(const std::string& target, TargetPlace& place) {
  std::string path = target;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.rfind('/');
  place.name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (place.name == "." || place.name == "..")
    return Error(Code::invalid, target + " does not exist");
  const std::string parent = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : path.substr(0, slash);
  THAW_CHECK(make_parents(parent, place.made));
  char* real = ::realpath(parent.c_str(), nullptr);
  if (real == nullptr) return errno_error(errno, "resolve " + parent);
  place.parent = real;
  std::free(real);
  place.path = place.parent == "/" ? "/" + place.name : place.parent + "/" + place.name;
  return {};
}

}  // namespace

void remove_made_parents(const TargetPlace& place) {
  for (auto folder = place.made.rbegin(); folder != place.made.rend(); ++folder) {
    if (::rmdir(folder->c_str()) != 0) return;
  }
}

Result<TargetPlace> locate_target(const std::string& target) {
  if (target.empty()) return Error(Code::invalid, "the target's path is empty");
  TargetPlace place;
  struct stat status {};
  if (::stat(target.c_str(), &status) == 0) {
    if (!S_ISDIR(status.st_mode)) return Error(Code::invalid, target + " is not a directory");
    char* real = ::realpath(target.c_str(), nullptr);
    if (real == nullptr) return errno_error(errno, "resolve " + target);
    place.path = real;
    std::free(real);
    place.exists = true;
  } else if (errno != ENOENT) {
    return errno_error(errno, "stat " + target);
  } else if (::lstat(target.c_str(), &status) == 0) {
    return Error(Code::invalid, target + " is a symbolic link to nothing");
  } else {
    auto located = locate_new(target, place);
    if (!located) {
      remove_made_parents(place);
      return std::move(located).error();
    }
    return place;
  }
  const size_t slash = place.path.rfind('/');
  place.name = place.path.substr(slash + 1);
  place.parent = slash == 0 ? "/" : place.path.substr(0, slash);
  THAW_ASSIGN(place.is_mount_point, is_mount_point(place));
  return place;
}

namespace {

// What the kernel answers where two names cannot change places in one step, for reasons that do not
// touch the names below them.
bool cannot_swap(int error) {
  return error == EXDEV || error == EBUSY || error == EINVAL || error == ENOSYS || error == EPERM ||
         error == EACCES;
}

// One name of the target: the old child goes into the stage's `old` folder, or is removed.
Result<> replace_child(const Context& context, int target, int fresh, int old,
                       const std::string& name, bool has_new) {
  struct stat status {};
  const bool has_old = ::fstatat(target, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (has_old && has_new &&
      ::renameat2(fresh, name.c_str(), target, name.c_str(), RENAME_EXCHANGE) == 0) {
    return {};
  }
  if (has_old && ::renameat(target, name.c_str(), old, name.c_str()) != 0) {
    // From a lower layer of overlayfs: it cannot be moved, but removed.
    if (errno != EXDEV) return errno_error(errno, "move away " + name);
    THAW_CHECK(remove_tree(context, target, name));
  }
  if (has_new && ::renameat(fresh, name.c_str(), target, name.c_str()) != 0) {
    return errno_error(errno, "move " + name + " into place");
  }
  return {};
}

// Makes a folder writable to its owner for a while, if it is not; what moved away meanwhile is let
// be.
class Writable {
 public:
  explicit Writable(const std::string& path) {
    auto fd = open_path(path, O_RDONLY | O_DIRECTORY);
    struct stat status {};
    if (!fd || ::fstat(fd->get(), &status) != 0 || (status.st_mode & 0700) == 0700) return;
    if (::fchmod(fd->get(), (status.st_mode & 07777) | 0700) != 0) return;
    fd_ = *std::move(fd);
    mode_ = status.st_mode & 07777;
  }
  Writable(const Writable&) = delete;
  Writable& operator=(const Writable&) = delete;
  ~Writable() {
    if (!fd_.valid()) return;
    const int saved = errno;
    if (::fchmod(fd_.get(), mode_) != 0) log::warn("a folder's mode was not set back");
    errno = saved;
  }

 private:
  UniqueFd fd_;
  mode_t mode_ = 0;
};

Result<> replace_children(const Context& context, Stage& stage, const std::string& name,
                          const TargetPlace& target, bool& applied) {
  const Writable writable(target.path);
  THAW_ASSIGN(const UniqueFd old_root, open_path(target.path, O_RDONLY | O_DIRECTORY));
  THAW_ASSIGN(const UniqueFd new_root, open_at(stage.fd(), name, O_RDONLY | O_DIRECTORY));
  if (::mkdirat(stage.fd(), "old", 0700) != 0)
    return errno_error(errno, "create a folder in the stage");
  THAW_ASSIGN(const UniqueFd old_children, open_at(stage.fd(), "old", O_RDONLY | O_DIRECTORY));
  THAW_ASSIGN(std::vector<std::string> old_names, names_in(old_root.get(), target.path));
  THAW_ASSIGN(std::vector<std::string> new_names, names_in(new_root.get(), "the stage"));
  std::sort(new_names.begin(), new_names.end());
  applied = true;
  for (const std::string& each : new_names) {
    THAW_CHECK(
        replace_child(context, old_root.get(), new_root.get(), old_children.get(), each, true));
  }
  for (const std::string& each : old_names) {
    if (each == stage.name() || std::binary_search(new_names.begin(), new_names.end(), each))
      continue;
    THAW_CHECK(
        replace_child(context, old_root.get(), new_root.get(), old_children.get(), each, false));
  }
  return {};
}

}  // namespace

Result<Placement> take_place(const Context& context, Stage& stage, const std::string& name,
                             const TargetPlace& target, bool& applied) {
  THAW_CHECK(context.alive());
  if (!target.is_mount_point) {
    THAW_ASSIGN(const UniqueFd parent, open_path(target.parent, O_RDONLY | O_DIRECTORY));
    const unsigned how = target.exists ? RENAME_EXCHANGE : RENAME_NOREPLACE;
    auto rename = [&] {
      return ::renameat2(stage.fd(), name.c_str(), parent.get(), target.name.c_str(), how) == 0;
    };
    if (rename()) return Placement::swapped;
    // A folder that moves to another parent is itself written (its ".." changes): its owner may
    // have to allow that.
    if (target.exists && errno == EACCES) {
      const Writable writable(target.path);
      if (rename()) return Placement::swapped;
    }
    if (!target.exists && errno == EINVAL &&
        ::renameat(stage.fd(), name.c_str(), parent.get(), target.name.c_str()) == 0) {
      return Placement::swapped;  // a filesystem without flags for rename; it replaces empty
                                  // folders at most
    }
    if (!target.exists && errno == EEXIST) {
      return Error(Code::busy, target.path + " appeared while it was being restored");
    }
    if (!target.exists || !cannot_swap(errno))
      return errno_error(errno, "move into " + target.path);
  }
  THAW_ASSIGN(const UniqueFd lock, lock_target(context, target.path));
  // From here to the end the target is between the two trees, so nothing stops it any more but an
  // error.
  THAW_CHECK(replace_children(Context(), stage, name, target, applied));
  return Placement::child_by_child;
}

}  // namespace thaw
