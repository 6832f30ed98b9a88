#include "golden/overlay.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "base/fd.h"
#include "snapshot/mounts.h"
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

// What a check that was killed left mounted; nobody else is at work on the clone.
void drop_probe(const std::string& home) { ::umount2((home + "/probe").c_str(), UMOUNT_NOFOLLOW); }

Error is_elsewhere(const std::string& what) {
  return {Code::busy, what +
                          ": its overlay is mounted in another mount namespace (a container's, "
                          "or a service's), and goes when that goes"};
}

// Options of mount(2) are one text, in which these mean something.
bool fits_into_options(std::string_view path) {
  return path.find_first_of(",:\\") == std::string_view::npos;
}

// What the mount of a clone is called in /proc/self/mountinfo.
std::string source_of(const std::string& id) { return "thaw-golden-" + id; }

// Every mount of a clone's overlay, bind mounts of it included.
Result<std::vector<std::string>> mount_points_of(const std::string& id) {
  THAW_ASSIGN(const auto table, mount_table());
  std::vector<std::string> points;
  for (const MountEntry& each : table) {
    if (each.type == "overlay" && each.source == source_of(id)) points.push_back(each.point);
  }
  return points;
}

// With an index the kernel keeps hard links together that are written to, and refuses a second
// mount of one upper layer, in whatever namespace the first one is.
std::string options_of(const std::string& lower, const std::string& home) {
  return fmt::format("index=on,lowerdir={},upperdir={}/upper,workdir={}/work", lower, home, home);
}

}  // namespace

bool overlay_is_mounted(const std::string& id) {
  const auto points = mount_points_of(id);
  return points && !points->empty();
}

Result<> mount_overlay(const Place& place, uint64_t generation, const std::string& id,
                       const std::string& target) {
  const std::string lower = place.tree_of(generation);
  const std::string home = place.overlays() + "/" + id;
  if (!fits_into_options(home)) {
    return Error(Code::unavailable,
                 "the golden root's path has a ',', ':' or '\\', which overlay mounts cannot take");
  }
  drop_probe(home);
  THAW_CHECK(make_folder(home));
  THAW_CHECK(make_folder(home + "/work"));
  bool is_there = false;
  folder_id_of(home + "/upper", is_there);
  if (!is_there) {
    THAW_CHECK(make_folder(home + "/upper"));
    THAW_CHECK(copy_top(lower, home + "/upper"));
  }
  if (::mount(source_of(id).c_str(), target.c_str(), "overlay", 0,
              options_of(lower, home).c_str()) == 0) {
    return {};
  }
  if (errno == EBUSY) return is_elsewhere(target);
  return Error(Code::unavailable, errno_error(errno, "mount an overlay on " + target).text());
}

Result<> unmount_overlay(const std::string& id, const std::string& target) {
  THAW_ASSIGN(const auto points, mount_points_of(id));
  for (const std::string& point : points) {
    if (point == target) continue;
    return Error(
        Code::busy,
        fmt::format("the overlay of {} is mounted on {}, too: unmount it there", target, point));
  }
  if (points.empty()) return {};
  THAW_ASSIGN(const auto table, mount_table());
  const MountEntry* top = nullptr;
  for (const MountEntry& each : table) {
    if (each.point == target) top = &each;
  }
  if (points.size() > 1 || top == nullptr || top->source != source_of(id))
    return Error(Code::busy, "something is mounted over " + target);
  if (::umount2(target.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
  return errno_error(errno, "unmount " + target);
}

Result<> check_overlay_is_free(const Place& place, uint64_t generation, const std::string& id) {
  const std::string home = place.overlays() + "/" + id;
  bool is_there = false;
  folder_id_of(home + "/upper", is_there);
  if (!is_there) return {};
  drop_probe(home);
  THAW_CHECK(make_folder(home + "/probe"));
  const std::string options = options_of(place.tree_of(generation), home);
  if (::mount("thaw-probe", (home + "/probe").c_str(), "overlay", 0, options.c_str()) != 0) {
    // Whoever may not mount has not mounted it either.
    if (errno == EBUSY) return is_elsewhere(home);
    return {};
  }
  if (::umount2((home + "/probe").c_str(), UMOUNT_NOFOLLOW) == 0) return {};
  return errno_error(errno, "unmount " + home + "/probe");
}

Result<> remove_overlay(const Context& context, const Place& place, const std::string& id) {
  drop_probe(place.overlays() + "/" + id);
  THAW_ASSIGN(const UniqueFd folder, open_path(place.overlays(), O_RDONLY | O_DIRECTORY));
  return remove_tree(context, folder.get(), id);
}

}  // namespace thaw::golden
