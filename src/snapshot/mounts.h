// Mount points: where a tree on disk goes on in another filesystem, or in another part of the same.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"

namespace thaw {

// Whether something is mounted on `name` in the folder `at` ("": on `at` itself); links are not
// followed. Kernels before 5.8 do not tell, and it is asked whether a folder has another device
// number than the one above it: that misses bind mounts.
Result<bool> is_mount_root(int at, const std::string& name, dev_t device_above);

// One line of /proc/self/mountinfo.
struct MountEntry {
  std::string point;  // absolute, without links
  std::string type;   // "overlay"
  std::string source;
};
// All mounts of this process's namespace; a later one lies over an earlier one with its point.
Result<std::vector<MountEntry>> mount_table();

// What is mounted below the folder `path` (absolute, without links), as paths below it, sorted; not
// what is mounted on it. Files can be mount points, too. Costs one read of /proc/self/mountinfo,
// whatever the tree; without /proc nothing is found.
std::vector<std::string> mounts_below(const std::string& path);

}  // namespace thaw
