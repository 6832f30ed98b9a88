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

// The fields before the n-th are taken off; empty when there are fewer.
std::string_view from_field(std::string_view line, int number) {
  for (int field = 0; field < number; ++field) {
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) return {};
    line.remove_prefix(space + 1);
  }
  return line;
}

std::string field(std::string_view line, int number) {
  const std::string_view rest = from_field(line, number);
  return unescaped(rest.substr(0, rest.find(' ')));
}

// "36 35 98:0 /root /mount/point rw,noatime … - overlay source rw,…"; no field before the dash is
// one alone.
MountEntry entry_of(std::string_view line) {
  MountEntry entry;
  entry.point = field(line, 4);
  const size_t dash = line.find(" - ");
  if (dash == std::string_view::npos) return entry;
  entry.type = field(line.substr(dash + 3), 0);
  entry.source = field(line.substr(dash + 3), 1);
  return entry;
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

Result<std::vector<MountEntry>> mount_table() {
  constexpr size_t kMostBytes = 256 * 1024 * 1024;
  THAW_ASSIGN(const ByteVector bytes, read_file("/proc/self/mountinfo", kMostBytes));
  std::vector<MountEntry> entries;
  std::string_view text = as_text(bytes.view());
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    entries.push_back(entry_of(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return entries;
}

std::vector<std::string> mounts_below(const std::string& path) {
  const auto table = mount_table();
  if (!table) {
    log::info("mounts below {} are not looked for: {}", path, table.error().text());
    return {};
  }
  const std::string prefix = path == "/" ? path : path + "/";
  std::vector<std::string> found;
  for (const MountEntry& entry : *table) {
    const std::string& point = entry.point;
    if (point.size() > prefix.size() && point.starts_with(prefix) && !is_hidden(point)) {
      found.push_back(point.substr(prefix.size()));
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace thaw
