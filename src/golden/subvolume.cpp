#include "golden/subvolume.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "golden/place.h"
#include "snapshot/mounts.h"
#include "snapshot/stage.h"

namespace thaw::golden {
namespace {

// Of the top folder of every subvolume (BTRFS_FIRST_FREE_OBJECTID, btrfs's on-disk format).
constexpr ino_t kTopInode = 256;

bool is_subvolume(int fd) {
  struct stat status {};
  return is_on_btrfs(fd) && ::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode) &&
         status.st_ino == kTopInode;
}

Result<UniqueFd> open_folder(int at, const std::string& name) {
  return open_at(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

std::string hex(const uint8_t (&bytes)[BTRFS_UUID_SIZE]) {
  std::string text;
  for (const uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

// Both kinds of arguments have room for longer names than a folder may hold.
template <size_t N>
Result<> put_name(char (&field)[N], const std::string& name) {
  if (name.size() >= N) return Error(Code::invalid, name + " is too long a name");
  std::memcpy(field, name.c_str(), name.size() + 1);
  return {};
}

Result<> set_read_only(int fd, const std::string& name, bool read_only) {
  uint64_t flags = 0;
  if (::ioctl(fd, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) != 0)
    return errno_error(errno, "look at the flags of " + name);
  flags = read_only ? flags | BTRFS_SUBVOL_RDONLY : flags & ~BTRFS_SUBVOL_RDONLY;
  if (::ioctl(fd, BTRFS_IOC_SUBVOL_SETFLAGS, &flags) != 0)
    return errno_error(errno, "change the flags of " + name);
  return {};
}

}  // namespace

bool is_on_btrfs(int folder) {
  struct statfs found {};
  return ::fstatfs(folder, &found) == 0 && static_cast<uint64_t>(found.f_type) == BTRFS_SUPER_MAGIC;
}

bool is_on_btrfs(const std::string& path) {
  const auto fd = open_folder(AT_FDCWD, path);
  return fd && is_on_btrfs(fd->get());
}

std::optional<SubvolumeIds> subvolume_at(const std::string& path) {
  const auto fd = open_folder(AT_FDCWD, path);
  if (!fd || !is_subvolume(fd->get())) return std::nullopt;
  struct btrfs_ioctl_get_subvol_info_args info {};
  // Some kernels (6.18 among them) answer 1 where all went well.
  if (::ioctl(fd->get(), BTRFS_IOC_GET_SUBVOL_INFO, &info) < 0) return std::nullopt;
  return SubvolumeIds{.uuid = hex(info.uuid), .parent_uuid = hex(info.parent_uuid)};
}

Result<> make_subvolume(int at, const std::string& name) {
  struct btrfs_ioctl_vol_args arguments {};
  THAW_CHECK(put_name(arguments.name, name));
  if (::ioctl(at, BTRFS_IOC_SUBVOL_CREATE, &arguments) != 0)
    return errno_error(errno, "create the subvolume " + name);
  return {};
}

Result<> snapshot_subvolume(const std::string& source, int at, const std::string& name) {
  THAW_ASSIGN(const UniqueFd from, open_folder(AT_FDCWD, source));
  struct btrfs_ioctl_vol_args_v2 arguments {};
  arguments.fd = from.get();
  THAW_CHECK(put_name(arguments.name, name));
  if (::ioctl(at, BTRFS_IOC_SNAP_CREATE_V2, &arguments) == 0) return {};
  const int fault = errno;
  const Error error = errno_error(fault, "make a snapshot of " + source);
  const bool not_here = fault == EXDEV || fault == EPERM || fault == EACCES || fault == ENOTTY ||
                        fault == EOPNOTSUPP || fault == EINVAL || fault == ETXTBSY;
  if (!not_here) return error;
  return Error(Code::unavailable, error.text());
}

Result<> set_read_only(const std::string& subvolume, bool read_only) {
  THAW_ASSIGN(const UniqueFd fd, open_folder(AT_FDCWD, subvolume));
  return set_read_only(fd.get(), subvolume, read_only);
}

Result<> remove_subvolume(const Context& context, int at, const std::string& name) {
  struct btrfs_ioctl_vol_args arguments {};
  THAW_CHECK(put_name(arguments.name, name));
  if (::ioctl(at, BTRFS_IOC_SNAP_DESTROY, &arguments) == 0 || errno == ENOENT) return {};
  // Only root may, as a rule; whoever may write there can empty it, and remove it then.
  const int refusal = errno;
  if (refusal == ENOTEMPTY) return Error(Code::busy, name + " has subvolumes of its own in it");
  auto inside = open_folder(at, name);
  if (!inside) return std::move(inside).error();
  if (!is_subvolume(inside->get())) return errno_error(refusal, "remove the subvolume " + name);
  THAW_CHECK(set_read_only(inside->get(), name, false));
  if (::fchmod(inside->get(), 0700) != 0) return errno_error(errno, "change the mode of " + name);
  THAW_ASSIGN(const auto entries, list_folder(fmt::format("/proc/self/fd/{}", inside->get())));
  for (const std::string& entry : entries) {
    THAW_CHECK(remove_tree(context, inside->get(), entry));
  }
  if (::unlinkat(at, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
  return errno_error(errno, "remove the subvolume " + name);
}

namespace {

// Only what can be on btrfs is looked at, and nothing beyond a mount.
Result<> remove_subvolumes_in(const Context& context, int folder, int depth) {
  constexpr int kDeepest = 2048;  // each level holds a descriptor
  if (depth > kDeepest) return Error(Code::exhausted, "a tree too deep to remove");
  THAW_CHECK(context.alive());
  struct stat above {};
  if (::fstat(folder, &above) != 0) return errno_error(errno, "look at a folder");
  THAW_ASSIGN(const auto entries, list_folder(fmt::format("/proc/self/fd/{}", folder)));
  for (const std::string& entry : entries) {
    const auto inside = open_folder(folder, entry);
    if (!inside || !is_on_btrfs(inside->get())) continue;
    THAW_ASSIGN(const bool is_mount, is_mount_root(inside->get(), "", above.st_dev));
    if (is_mount) continue;
    const bool found = is_subvolume(inside->get());
    if (found) THAW_CHECK(set_read_only(inside->get(), entry, false));
    THAW_CHECK(remove_subvolumes_in(context, inside->get(), depth + 1));
    if (found) THAW_CHECK(remove_subvolume(context, folder, entry));
  }
  return {};
}

}  // namespace

Result<> remove_with_subvolumes(const Context& context, int at, const std::string& name) {
  const auto folder = open_folder(at, name);
  if (folder && is_on_btrfs(folder->get())) {
    // As a rule it is "tree" alone, and goes in one step.
    const auto tree = open_folder(folder->get(), "tree");
    const bool gone =
        tree && is_subvolume(tree->get()) && remove_subvolume(context, folder->get(), "tree").ok();
    if (!gone) THAW_CHECK(remove_subvolumes_in(context, folder->get(), 0));
  }
  return remove_tree(context, at, name);
}

}  // namespace thaw::golden
