// Opening what lies below a folder without ever leaving it: no symbolic link on the way is
// followed, and a path may be longer than PATH_MAX.
#pragma once

#include <string_view>

#include "base/fd.h"

namespace thaw {

// Opens `path` ("a/b/c", no leading '/', no "." or ".."; "" is the folder itself) below `root`.
// O_CLOEXEC and O_NOFOLLOW are added. openat2(2) with RESOLVE_BENEATH where the kernel has it, else
// one component at a time. A symbolic link on the way is Code::invalid (ELOOP), and so is a folder
// that is moved out of `root` meanwhile.
Result<UniqueFd> open_beneath(int root, std::string_view path, int flags, mode_t mode = 0);

// The folder that holds the last component of `path`, opened O_PATH, and that component's name.
struct ParentAndName {
  UniqueFd folder;
  std::string name;
};
Result<ParentAndName> open_parent_beneath(int root, std::string_view path);

// Why opening `path` answered not_found: true when it, or a folder above it, is no longer there;
// false when one of them is something else than was taken for granted.
bool is_gone(int root, std::string_view path);

}  // namespace thaw
