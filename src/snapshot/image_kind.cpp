#include "snapshot/image_kind.h"

#include <algorithm>
#include <array>

namespace thaw {
namespace {

bool has_at(Bytes head, size_t offset, std::string_view magic) {
  return head.size() >= offset + magic.size() &&
         as_text(head.subspan(offset, magic.size())) == magic;
}

// The magic alone is two bytes, which one file of 65,536 has by chance.
bool has_ext_superblock(Bytes head) {
  constexpr size_t kSuperblock = 1024;
  constexpr uint32_t kMostLogBlockSize = 6;  // blocks of 64 KiB
  return has_at(head, kSuperblock + 56, "\x53\xef") &&
         load_le<uint32_t>(head.data() + kSuperblock + 24) <= kMostLogBlockSize;
}

bool has_partition_table(Bytes head) {
  if (has_at(head, 512, "EFI PART")) return true;
  if (!has_at(head, 510, "\x55\xaa")) return false;
  constexpr std::array<size_t, 4> kEntries = {446, 462, 478, 494};
  const bool sound = std::all_of(kEntries.begin(), kEntries.end(),
                                 [&](size_t at) { return head[at] == 0x00 || head[at] == 0x80; });
  const bool used =
      std::any_of(kEntries.begin(), kEntries.end(), [&](size_t at) { return head[at + 4] != 0; });
  return sound && used;
}

}  // namespace

bool has_holes(const FileStat& stat) {
  // Below this a hole saves less than the file's own records cost.
  constexpr uint64_t kWorthBytes = 64 * 1024;
  return stat.size_bytes > stat.allocated_bytes + kWorthBytes;
}

bool has_image_name(std::string_view name) {
  constexpr std::array<std::string_view, 3> kNames = {"memfile", "mem_file", "memory-ranges"};
  constexpr std::array<std::string_view, 12> kEndings = {".img",  ".raw",  ".ext2",    ".ext3",
                                                         ".ext4", ".xfs",  ".btrfs",   ".qcow2",
                                                         ".mem",  ".vmem", ".memfile", ".rootfs"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() ||
         std::any_of(kEndings.begin(), kEndings.end(),
                     [name](std::string_view ending) { return name.ends_with(ending); });
}

bool has_image_head(Bytes head) {
  return has_ext_superblock(head) || has_partition_table(head) || has_at(head, 0, "XFSB") ||
         has_at(head, 0, "QFI\xfb") || has_at(head, 0x10040, "_BHRfS_M");
}

}  // namespace thaw
