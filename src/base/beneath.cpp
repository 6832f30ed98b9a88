#include "base/beneath.h"

#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>

namespace thaw {
namespace {

// Room for the terminating NUL and then some: longer paths are walked in steps.
constexpr size_t kOneStepBytes = PATH_MAX - 64;

Result<UniqueFd> open_in_one_step(int root, const std::string& path, int flags, mode_t mode) {
  struct open_how how {};
  how.flags = static_cast<uint64_t>(flags);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  // EAGAIN: a rename elsewhere raced with the walk, and the kernel asks to try again; or, under
  // O_NONBLOCK, somebody holds a lease on the file, which lasts.
  int races_left = 64;
  while (true) {
    const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    const bool again = errno == EINTR || (errno == EAGAIN && races_left-- > 0);
    // A folder on the way was moved out of the root meanwhile.
    if (errno == EXDEV) return Error(Code::invalid, "open " + path + ": leads outside");
    if (!again) return errno_error(errno, "open " + path);
  }
}

bool openat2_works() {
  // 0 unknown, 1 yes, 2 no (kernels before 5.6, and sandboxes whose filter denies it).
  static std::atomic<int> known{0};
  int state = known.load(std::memory_order_relaxed);
  if (state == 0) {
    struct open_how how {};
    how.flags = O_PATH | O_CLOEXEC | O_DIRECTORY;
    const UniqueFd probe(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof how)));
    state = probe.valid() ? 1 : 2;
    known.store(state, std::memory_order_relaxed);
  }
  return state == 1;
}

// The folder below `root` that `path` names, component by component.
Result<UniqueFd> walk(int root, std::string_view path) {
  UniqueFd at;
  int current = root;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string component(path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (component.empty() || component == "." || component == "..") {
      return Error(Code::invalid, "a path with an empty, \".\" or \"..\" component");
    }
    THAW_ASSIGN(UniqueFd next, open_at(current, component, O_PATH | O_NOFOLLOW | O_DIRECTORY));
    at = std::move(next);
    current = at.get();
  }
  if (at.valid()) return at;
  return open_at(root, ".", O_PATH | O_DIRECTORY);
}

}  // namespace

Result<UniqueFd> open_beneath(int root, std::string_view path, int flags, mode_t mode) {
  flags |= O_CLOEXEC | O_NOFOLLOW;
  if (path.empty()) return open_at(root, ".", flags, mode);
  if (path.size() < kOneStepBytes && openat2_works()) {
    return open_in_one_step(root, std::string(path), flags, mode);
  }
  THAW_ASSIGN(const ParentAndName parent, open_parent_beneath(root, path));
  return open_at(parent.folder.get(), parent.name, flags, mode);
}

Result<ParentAndName> open_parent_beneath(int root, std::string_view path) {
  const size_t slash = path.rfind('/');
  const std::string_view folder = slash == std::string_view::npos ? "" : path.substr(0, slash);
  const std::string name(slash == std::string_view::npos ? path : path.substr(slash + 1));
  if (name.empty() || name == "." || name == "..") {
    return Error(Code::invalid, "a path whose last component is empty, \".\" or \"..\"");
  }
  if (folder.size() < kOneStepBytes && openat2_works() && !folder.empty()) {
    THAW_ASSIGN(UniqueFd fd, open_in_one_step(root, std::string(folder),
                                              O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0));
    return ParentAndName{std::move(fd), name};
  }
  THAW_ASSIGN(UniqueFd fd, walk(root, folder));
  return ParentAndName{std::move(fd), name};
}

bool is_gone(int root, std::string_view path) {
  while (!path.empty()) {
    const auto above = open_parent_beneath(root, path);
    if (above) {
      struct stat status {};
      return ::fstatat(above->folder.get(), above->name.c_str(), &status, AT_SYMLINK_NOFOLLOW) !=
                 0 &&
             errno == ENOENT;
    }
    if (above.error().code() != Code::not_found) return false;
    const size_t slash = path.rfind('/');
    path = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
  }
  return false;
}

}  // namespace thaw
