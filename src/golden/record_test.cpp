#include "golden/record.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "golden/place.h"
#include "support/result_check.h"
#include "support/test_seed.h"

namespace thaw::golden {
namespace {

using test::fails_with;
using test::is_ok;

Description sample() {
  Description it;
  it.name = "shop";
  it.generation = 7;
  it.created_at = "2026-03-01T12:00:00Z";
  it.source = "session \"1\"\n";
  it.host = "h";
  it.snapshot = "abc";
  it.stamp = "etc/golden.json";
  it.labels = {{"branch", "main"}, {"empty", ""}};
  it.totals = {.files = 1, .dirs = 2, .others = 3, .bytes = UINT64_MAX};
  return it;
}

CloneRecord sample_clone() {
  CloneRecord record;
  record.target = "/a b/\xff\n%41";
  record.generation = 3;
  record.method = Method::overlay;
  record.created_at = "2026-03-01T12:00:00Z";
  record.tree =
      FolderId{.device = 1, .inode = UINT64_MAX, .born_ns = -5, .subvolume = "0123456789abcdef"};
  record.made_target = true;
  return record;
}

TEST(GoldenRecords, ComeBackAsTheyWere) {
  const auto pointer = read_pointer(write_pointer({.current = 3, .last = UINT64_MAX}));
  ASSERT_TRUE(is_ok(pointer));
  EXPECT_EQ(pointer->current, 3U);
  EXPECT_EQ(pointer->last, UINT64_MAX);

  const auto it = read_description(write_description(sample()));
  ASSERT_TRUE(is_ok(it));
  EXPECT_EQ(write_description(*it), write_description(sample()));
  EXPECT_EQ(it->source, sample().source);
  EXPECT_EQ(it->labels, sample().labels);

  const auto clone = read_clone(write_clone(sample_clone()));
  ASSERT_TRUE(is_ok(clone));
  EXPECT_EQ(clone->target, sample_clone().target);
  EXPECT_EQ(clone->tree, sample_clone().tree);
  EXPECT_EQ(clone->method, Method::overlay);
  EXPECT_TRUE(clone->made_target);
}

TEST(GoldenRecords, RefuseWhatIsMalformed) {
  for (const char* text : {"", "[]", "{", "null", "{}", R"({"format": "1"})", R"({"format": 1})",
                           R"({"format": 1, "current": 2, "last": 1})",
                           R"({"format": 1, "current": -1, "last": 1})"}) {
    EXPECT_TRUE(fails_with(Code::corrupt, read_pointer(text))) << text;
    EXPECT_TRUE(fails_with(Code::corrupt, read_description(text))) << text;
    EXPECT_TRUE(fails_with(Code::corrupt, read_clone(text))) << text;
  }
  EXPECT_TRUE(fails_with(Code::invalid, read_pointer(R"({"format": 2})")));
}

// They lie in a folder that others of the user's programs may write to.
TEST(GoldenRecords, SurviveDamage) {
  const uint64_t seed = test::test_seed();
  std::mt19937_64 random(seed);
  const std::string texts[] = {write_pointer({.current = 3, .last = 4}),
                               write_description(sample()), write_clone(sample_clone())};
  for (int round = 0; round < 3000; ++round) {
    std::string text = texts[round % 3];
    for (int change = 0; change < 3; ++change)
      text[random() % text.size()] = static_cast<char>(random());
    // Whatever they answer, they answer.
    static_cast<void>(read_pointer(text).ok());
    static_cast<void>(read_description(text).ok());
    static_cast<void>(read_clone(text).ok());
  }
}

// A machine that starts again numbers its devices anew, and its clones are still its clones.
TEST(GoldenFolders, AreKnownByTheirBirth) {
  const FolderId folder{.device = 1, .inode = 2, .born_ns = 3, .subvolume = "a"};
  FolderId other = folder;
  other.device = 9;
  EXPECT_EQ(folder, other);
  other.born_ns = 4;
  EXPECT_NE(folder, other);
  other = folder;
  other.subvolume = "b";
  EXPECT_NE(folder, other);
  FolderId timeless{.device = 1, .inode = 2};
  EXPECT_NE(timeless, (FolderId{.device = 9, .inode = 2}));
  EXPECT_EQ(timeless, (FolderId{.device = 1, .inode = 2}));
}

TEST(GoldenPlaces, KnowNetworkFilesystems) {
  EXPECT_TRUE(is_network_filesystem(0x6969));      // NFS
  EXPECT_TRUE(is_network_filesystem(0xff534d42));  // CIFS
  // As a signed 32-bit number becomes an unsigned one of 64.
  EXPECT_TRUE(is_network_filesystem(0xffffffffff534d42));
  EXPECT_FALSE(is_network_filesystem(0xef53));      // ext4
  EXPECT_FALSE(is_network_filesystem(0x9123683e));  // btrfs
}

TEST(GoldenPlaces, AtOrBelow) {
  EXPECT_TRUE(is_at_or_below("/a/b", "/a/b"));
  EXPECT_TRUE(is_at_or_below("/a/b/c", "/a/b"));
  EXPECT_TRUE(is_at_or_below("/a", "/"));
  EXPECT_FALSE(is_at_or_below("/a/bc", "/a/b"));
  EXPECT_FALSE(is_at_or_below("/a", "/a/b"));
}

}  // namespace
}  // namespace thaw::golden
