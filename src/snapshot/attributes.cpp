#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "snapshot/scan.h"
#include "snapshot/tree_writer.h"
#include "snapshot/xattrs.h"

namespace thaw {
namespace {

bool is_own(const Owner& owner) {
  static const uid_t uid = ::geteuid();
  static const gid_t gid = ::getegid();
  return owner.uid == uid && owner.gid == gid;
}

bool is_root() {
  static const bool root = ::geteuid() == 0;
  return root;
}

const XattrSet& xattrs_of(const Tree& tree, const Node& node) {
  static const XattrSet kEmpty;
  return node.xattrs == kNone ? kEmpty : tree.xattr_sets[node.xattrs];
}

}  // namespace

Result<uint64_t> set_attributes(int fd, const Tree& tree, const Node& node,
                                const AttributeOptions& options, const std::string& name) {
  uint64_t skipped = 0;
  bool mode_is_set = options.mode_is_set;
  // Only root can give files away; for others the file stays the caller's, as promised, silently.
  if (options.owners && is_root() && (!is_own(node.owner) || !mode_is_set)) {
    if (::fchown(fd, node.owner.uid, node.owner.gid) != 0) {
      if (errno != EPERM && errno != EINVAL)
        return errno_error(errno, "change the owner of " + name);
      ++skipped;
    }
    mode_is_set = mode_is_set && (node.mode & (S_ISUID | S_ISGID)) == 0;
  }
  const bool sets_xattrs = options.xattrs && (node.xattrs != kNone || !options.fresh);
  // "user.*" is for who may write the file, and that its owner opened it for writing does not
  // count.
  const bool opens = sets_xattrs && !is_root() && (node.mode & S_IWUSR) == 0;
  if (opens && ::fchmod(fd, (node.mode & 0777) | S_IWUSR) != 0) {
    return errno_error(errno, "change the mode of " + name);
  }
  if (sets_xattrs) {
    THAW_ASSIGN(const size_t unset, write_xattrs(fd, xattrs_of(tree, node), name));
    skipped += unset;
    // An access list that could not be told from the mode sets it, too.
    mode_is_set = false;
  }
  if (!mode_is_set && ::fchmod(fd, node.mode & 07777) != 0) {
    return errno_error(errno, "change the mode of " + name);
  }
  const struct timespec times[2] = {{0, UTIME_OMIT}, timespec_of(node.mtime_ns)};
  if (::futimens(fd, times) != 0) return errno_error(errno, "change the time of " + name);
  return skipped;
}

Result<uint64_t> set_attributes_of_link(int folder, const std::string& name, const Tree& tree,
                                        const Node& node, const AttributeOptions& options) {
  uint64_t skipped = 0;
  if (options.owners && is_root()) {
    if (::fchownat(folder, name.c_str(), node.owner.uid, node.owner.gid, AT_SYMLINK_NOFOLLOW) !=
        0) {
      if (errno != EPERM && errno != EINVAL)
        return errno_error(errno, "change the owner of " + name);
      ++skipped;
    }
  }
  // A symbolic link has no mode of its own.
  if (!node.is_symlink() && ::fchmodat(folder, name.c_str(), node.mode & 07777, 0) != 0) {
    return errno_error(errno, "change the mode of " + name);
  }
  if (options.xattrs && (node.xattrs != kNone || !options.fresh)) {
    THAW_ASSIGN(const size_t unset,
                write_xattrs_of_link(proc_path(folder, name), xattrs_of(tree, node)));
    skipped += unset;
  }
  const struct timespec times[2] = {{0, UTIME_OMIT}, timespec_of(node.mtime_ns)};
  if (::utimensat(folder, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error(errno, "change the time of " + name);
  }
  return skipped;
}

}  // namespace thaw
