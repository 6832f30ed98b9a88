#include "snapshot/mounts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/fd.h"
#include "base/log.h"

namespace thaw {
namespace {

// Spaces, tabs, newlines and backslashes stand as \ooo.
std::string unescaped(std::string_view text) {
  std::string plain;
  auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

// "36 35 98:0 /root /mount/point rw,noatime …": the fifth field.
std::string mount_point_of(std::string_view line) {
  for (int field = 0; field < 4; ++field) {
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) return {};
    line.remove_prefix(space + 1);
  }
  return unescaped(line.substr(0, line.find(' ')));
}

// Kernels since 5.8.
bool tells_mount_roots(const struct statx& found) {
  return (found.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0;
}

// A later mount on a folder above hides a mount, and it stands in the list all the same. What
// cannot be asked counts as seen.
bool is_hidden(const std::string& path) {
  struct statx found {};
  // Neither waits for a server that does not answer nor mounts anything by looking.
  constexpr int kFlags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
  if (::statx(AT_FDCWD, path.c_str(), kFlags, STATX_TYPE, &found) != 0) {
    return errno == ENOENT || errno == ENOTDIR;
  }
  return tells_mount_roots(found) && (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0;
}

}  // namespace

Result<bool> is_mount_root(int at, const std::string& name, dev_t device_above) {
  struct statx found {};
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name.empty() ? AT_EMPTY_PATH : 0);
  if (::statx(at, name.c_str(), flags, STATX_TYPE, &found) != 0) {
    return errno_error(errno, "stat " + name);
  }
  if (tells_mount_roots(found)) return (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  // Files of an overlayfs have the device numbers of its layers.
  return S_ISDIR(found.stx_mode) &&
         gnu_dev_makedev(found.stx_dev_major, found.stx_dev_minor) != device_above;
}

std::vector<std::string> mounts_below(const std::string& path) {
  constexpr size_t kMostBytes = 256 * 1024 * 1024;
  const auto table = read_file("/proc/self/mountinfo", kMostBytes);
  if (!table) {
    log::info("mounts below {} are not looked for: {}", path, table.error().text());
    return {};
  }
  const std::string prefix = path == "/" ? path : path + "/";
  std::vector<std::string> found;
  std::string_view text = as_text(table->view());
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string point = mount_point_of(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (point.size() > prefix.size() && point.starts_with(prefix) && !is_hidden(point)) {
      found.push_back(point.substr(prefix.size()));
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace thaw
