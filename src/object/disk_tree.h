// How the disk store walks its tree: names to files below the root, never through a symbolic link.
// Internal to the disk store.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>

#include "base/fd.h"
#include "object/store.h"

namespace thaw::disk {

// Where writes begin; no object is named so, nor below it.
inline constexpr std::string_view kTempFolder = ".tmp";
bool is_reserved(std::string_view name);

// "a/b/c" as "a/b" and "c"; the folder is empty for a name of one segment.
struct Place {
  std::string folder;
  std::string leaf;
};
Place place_of(std::string_view name);

// open_beneath() where what can be no object or folder (a symbolic link, a socket, a file where a
// folder should be, a name too long for the filesystem) is Code::not_found, as what is missing.
Result<UniqueFd> open_below(int at, const std::string& path, int flags, mode_t mode = 0);

Result<struct stat> status_of(int fd, const std::string& name);

ObjectInfo info_of(const struct stat& status);

// fsync(2). Filesystems that cannot do it for a folder are taken at their word.
Result<> sync_file(int fd, const std::string& name);
Result<> sync_folder(int fd, const std::string& name);

}  // namespace thaw::disk
