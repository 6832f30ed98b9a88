#include "golden/overlay.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "base/fd.h"
#include "snapshot/stage.h"
#include "snapshot/xattrs.h"

namespace thaw::golden {
namespace {

Result<> make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return errno_error(errno, "create " + path);
}

// The top of the clone is the upper layer's folder, so that it gets what the generation's has.
Result<> copy_top(const std::string& from, const std::string& to) {
  THAW_ASSIGN(const UniqueFd source, open_path(from, O_RDONLY | O_DIRECTORY));
  THAW_ASSIGN(const UniqueFd copy, open_path(to, O_RDONLY | O_DIRECTORY));
  struct stat status {};
  if (::fstat(source.get(), &status) != 0) return errno_error(errno, "stat " + from);
  if (::geteuid() == 0 && ::fchown(copy.get(), status.st_uid, status.st_gid) != 0)
    return errno_error(errno, "change the owner of " + to);
  if (::fchmod(copy.get(), status.st_mode & 07777) != 0)
    return errno_error(errno, "change the mode of " + to);
  THAW_ASSIGN(const XattrSet xattrs, read_xattrs(source.get(), from));
  if (!xattrs.empty()) {
    auto written = write_xattrs(copy.get(), xattrs, to);
    if (!written) return std::move(written).error();
  }
  const struct timespec times[2] = {{0, UTIME_OMIT}, status.st_mtim};
  if (::futimens(copy.get(), times) != 0) return errno_error(errno, "change the time of " + to);
  return {};
}

// Options of mount(2) are one text, in which these mean something.
bool fits_into_options(std::string_view path) {
  return path.find_first_of(",:\\") == std::string_view::npos;
}

}  // namespace

std::string overlay_source(const std::string& id) { return "thaw-golden-" + id; }

bool overlay_is_mounted(const std::string& id) {
  const auto table = read_file("/proc/self/mountinfo", 256 * 1024 * 1024);
  if (!table) return false;
  // "… - overlay thaw-golden-<id> rw,…": no field before it holds such a word.
  return as_text(table->view()).find(" - overlay " + overlay_source(id) + " ") !=
         std::string_view::npos;
}

Result<> mount_overlay(const Place& place, uint64_t generation, const std::string& id,
                       const std::string& target) {
  const std::string lower = place.tree_of(generation);
  const std::string home = place.overlays() + "/" + id;
  if (!fits_into_options(home)) {
    return Error(Code::unavailable,
                 "the golden root's path has a ',', ':' or '\\', which overlay mounts cannot take");
  }
  THAW_CHECK(make_folder(home));
  THAW_CHECK(make_folder(home + "/work"));
  bool is_there = false;
  folder_id_of(home + "/upper", is_there);
  if (!is_there) {
    THAW_CHECK(make_folder(home + "/upper"));
    THAW_CHECK(copy_top(lower, home + "/upper"));
  }
  const std::string options =
      fmt::format("lowerdir={},upperdir={}/upper,workdir={}/work", lower, home, home);
  if (::mount(overlay_source(id).c_str(), target.c_str(), "overlay", 0, options.c_str()) == 0)
    return {};
  return Error(Code::unavailable, errno_error(errno, "mount an overlay on " + target).text());
}

Result<> unmount_overlay(const std::string& target) {
  if (::umount2(target.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
  return errno_error(errno, "unmount " + target);
}

Result<> remove_overlay(const Context& context, const Place& place, const std::string& id) {
  THAW_ASSIGN(const UniqueFd folder, open_path(place.overlays(), O_RDONLY | O_DIRECTORY));
  return remove_tree(context, folder.get(), id);
}

}  // namespace thaw::golden
