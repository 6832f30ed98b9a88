#include "cache/file_checksum.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/temp_dir.h"

namespace thaw::cache {
namespace {

using Texts = std::vector<std::string>;

// What contents come to is in the table of address_test.cpp.

TEST(FileChecksumTest, ExpandsBraces) {
  EXPECT_EQ(*expand_braces("a{b,c}d"), (Texts{"abd", "acd"}));
  EXPECT_EQ(*expand_braces("{a,b}{1,2}"), (Texts{"a1", "a2", "b1", "b2"}));
  EXPECT_EQ(*expand_braces("{a,{b,c}}"), (Texts{"a", "b", "c"}));
  EXPECT_EQ(*expand_braces("{a,}"), (Texts{"", "a"}));
  EXPECT_EQ(*expand_braces("{a}"), (Texts{"{a}"}));
  EXPECT_EQ(*expand_braces("{a,b"), (Texts{"{a,b"}));
  EXPECT_EQ(*expand_braces("}{"), (Texts{"}{"}));
  std::string many;
  for (int i = 0; i < 20; ++i) many += "{a,b}";
  EXPECT_EQ(expand_braces(many).error().code(), Code::exhausted);
}

TEST(FileChecksumTest, StopsAtABound) {
  const test::TempDir files;
  for (int i = 0; i < 20; ++i) test::write_text(files.path_of("f" + std::to_string(i)), "x");
  const Context context;
  EXPECT_TRUE(file_checksum(context, files.path(), {"*"}, 20).ok());
  const auto stopped = file_checksum(context, files.path(), {"*"}, 19);
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().code(), Code::exhausted);
}

TEST(FileChecksumTest, ListsNoDeeperThanAPatternReaches) {
  const test::TempDir files;
  std::filesystem::create_directories(files.path_of("deep/er"));
  for (int i = 0; i < 20; ++i) test::write_text(files.path_of("deep/f" + std::to_string(i)), "x");
  test::write_text(files.path_of("a.lock"), "x");
  const Context context;
  EXPECT_TRUE(file_checksum(context, files.path(), {"*.lock"}, 2).ok());
  EXPECT_FALSE(file_checksum(context, files.path(), {"**/*.lock"}, 2).ok());
}

TEST(FileChecksumTest, EndsWithItsContext) {
  const test::TempDir files;
  test::write_text(files.path_of("f"), "x");
  StopFlag stop;
  stop.stop();
  const Context context(stop);
  EXPECT_EQ(file_checksum(context, files.path(), {"*"}).error().code(), Code::cancelled);
  EXPECT_EQ(file_checksum(context, files.path(), {"f"}).error().code(), Code::cancelled);
}

}  // namespace
}  // namespace thaw::cache
