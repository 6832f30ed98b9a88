// Which files are laid down as images, on a grid of windows, without being told. Pure.
#pragma once

#include <string_view>

#include "base/bytes.h"
#include "snapshot/scan.h"

namespace thaw {

// Below this a file is cut by content unless it has holes or was named: a change in it costs a few
// chunks at most either way, and an insertion costs less.
inline constexpr uint64_t kImageBytes = 16 * 1024 * 1024;
// How much of a file's beginning has_image_head() wants to see.
inline constexpr size_t kImageHeadBytes = 68 * 1024;

// Holes that are worth keeping, whatever the size: a file that is cut by content has none.
bool has_holes(const FileStat& stat);
// A name that virtual machines give their memory or disks ("memfile", "rootfs.ext4").
bool has_image_name(std::string_view name);
// A file system (ext2 to ext4, XFS, btrfs), a partition table (MBR, GPT) or a QCOW2 disk begins so.
bool has_image_head(Bytes head);

}  // namespace thaw
