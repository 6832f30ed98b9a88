#include "object/disk_tree.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/beneath.h"

namespace thaw::disk {
namespace {

// A file's times may be those of any year: what does not fit is the nearest that does.
int64_t nanoseconds_of(const struct timespec& time) {
  constexpr int64_t kSecond = 1'000'000'000;
  constexpr int64_t kMost = INT64_MAX / kSecond - 1;
  return std::clamp<int64_t>(time.tv_sec, -kMost, kMost) * kSecond + time.tv_nsec;
}

}  // namespace

bool is_reserved(std::string_view name) {
  return name.starts_with(kTempFolder) &&
         (name.size() == kTempFolder.size() || name[kTempFolder.size()] == '/');
}

Place place_of(std::string_view name) {
  const size_t slash = name.rfind('/');
  if (slash == std::string_view::npos) return {"", std::string(name)};
  return {std::string(name.substr(0, slash)), std::string(name.substr(slash + 1))};
}

Result<UniqueFd> open_below(int at, const std::string& path, int flags, mode_t mode) {
  auto opened = open_beneath(at, path, flags, mode);
  if (!opened && opened.error().code() == Code::invalid) {
    return Error(Code::not_found, opened.error().text());
  }
  return opened;
}

Result<struct stat> status_of(int fd, const std::string& name) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return errno_error(errno, "stat " + name);
  return status;
}

ObjectInfo info_of(const struct stat& status) {
  const int64_t modified_ns = nanoseconds_of(status.st_mtim);
  // Whoever writes into a file can set its mtime back, or give a new file an old one's.
  const int64_t changed_ns = nanoseconds_of(status.st_ctim);
  const auto size_bytes = static_cast<uint64_t>(status.st_size);
  return {size_bytes,
          fmt::format("{:x}-{:x}-{:x}-{:x}", status.st_ino, size_bytes, modified_ns, changed_ns),
          Timestamp{modified_ns}};
}

Result<> sync_file(int fd, const std::string& name) {
  while (::fsync(fd) != 0) {
    if (errno != EINTR) return errno_error(errno, "fsync " + name);
  }
  return {};
}

Result<> sync_folder(int fd, const std::string& name) {
  while (::fsync(fd) != 0) {
    if (errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS) return {};
    if (errno != EINTR) return errno_error(errno, "fsync " + name);
  }
  return {};
}

}  // namespace thaw::disk
