#include "snapshot/image_kind.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/random_bytes.h"

namespace thaw {
namespace {

std::vector<uint8_t> head_with(size_t offset, std::string_view magic) {
  std::vector<uint8_t> head(kImageHeadBytes, 0);
  std::copy(magic.begin(), magic.end(), head.begin() + static_cast<ptrdiff_t>(offset));
  return head;
}

TEST(ImageKind, HeadsOfFileSystemsAndDisks) {
  using namespace std::string_view_literals;
  EXPECT_TRUE(has_image_head(head_with(1080, "\x53\xef")));
  EXPECT_TRUE(has_image_head(head_with(0, "XFSB")));
  EXPECT_TRUE(has_image_head(head_with(0, "QFI\xfb")));
  EXPECT_TRUE(has_image_head(head_with(0x10040, "_BHRfS_M")));
  EXPECT_TRUE(has_image_head(head_with(512, "EFI PART")));
  auto mbr = head_with(510, "\x55\xaa");
  EXPECT_FALSE(has_image_head(mbr)) << "a boot sector without partitions";
  mbr[446 + 4] = 0x83;
  EXPECT_TRUE(has_image_head(mbr));
  mbr[462] = 0x17;
  EXPECT_FALSE(has_image_head(mbr)) << "what is no status byte";
}

TEST(ImageKind, OtherHeadsAreNone) {
  EXPECT_FALSE(has_image_head({}));
  EXPECT_FALSE(has_image_head(std::vector<uint8_t>(kImageHeadBytes, 0)));
  auto by_chance = test::random_bytes(kImageHeadBytes, 4);
  by_chance[1080] = 0x53;
  by_chance[1081] = 0xef;
  EXPECT_FALSE(has_image_head(by_chance)) << "the magic of ext4, and a block size that none has";
  // Every length up to where the last magic ends.
  const auto btrfs = head_with(0x10040, "_BHRfS_M");
  EXPECT_FALSE(has_image_head(Bytes(btrfs).first(0x10047)));
  EXPECT_TRUE(has_image_head(Bytes(btrfs).first(0x10048)));
  EXPECT_FALSE(has_image_head(Bytes(head_with(1080, "\x53\xef")).first(1081)));
}

TEST(ImageKind, Names) {
  for (const char* name : {"memfile", "rootfs.ext4", "disk.img", "vm.mem", "memory-ranges"})
    EXPECT_TRUE(has_image_name(name)) << name;
  for (const char* name : {"", "img", "memfile2", "a.image", "snapfile", "big", "disk.img.zst"})
    EXPECT_FALSE(has_image_name(name)) << name;
}

TEST(ImageKind, HolesBelowAFewPagesAreNotWorthIt) {
  FileStat stat;
  stat.size_bytes = 1 << 20;
  stat.allocated_bytes = stat.size_bytes - 64 * 1024;
  EXPECT_FALSE(has_holes(stat));
  stat.allocated_bytes -= 4096;
  EXPECT_TRUE(has_holes(stat));
}

}  // namespace
}  // namespace thaw
