#include "archive/merge_mounts.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <vector>

#include "snapshot/mounts.h"

namespace thaw::archive {
namespace {

Error in_the_way(const MergeRequest& request, const std::string& path) {
  return {Code::busy, request.target_name + "/" + path +
                          " is a mount point in what is to be changed: unmount it, or get the "
                          "archive to another directory"};
}

// Whether a mount at `path` is at, above or below something that changes.
bool is_in_the_way(const MergeRequest& request, std::string_view path) {
  const NameTable& names = request.names;
  uint32_t at = 0;
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(name.size() + 1, path.size()));
    at = names.find(at, name);
    if (at == kNone) return request.extra == Extra::removed;
    if (names.kind(at) != NameKind::folder) return true;
  }
  return true;
}

}  // namespace

Result<> refuse_mounts_in_the_way(const Context& context, int target, const MergeRequest& request) {
  for (const std::string& path : mounts_below(request.target_name)) {
    if (is_in_the_way(request, path)) return in_the_way(request, path);
  }
  // Other filesystems that the table of mounts does not show: subvolumes.
  const NameTable& names = request.names;
  struct stat root {};
  if (::fstat(target, &root) != 0) return errno_error(errno, "stat " + request.target_name);
  std::vector<uint8_t> is_there(names.size(), 0);
  is_there[0] = 1;
  for (uint32_t id = 1; id < names.size(); ++id) {
    if (names.kind(id) != NameKind::folder || is_there[names.parent(id)] == 0) continue;
    THAW_CHECK(context.alive());
    const std::string path = names.path(id);
    struct stat status {};
    if (::fstatat(target, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISDIR(status.st_mode)) continue;
    is_there[id] = 1;
    if (status.st_dev != root.st_dev) return in_the_way(request, path);
  }
  return {};
}

}  // namespace thaw::archive
