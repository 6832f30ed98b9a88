#include "cache/file_checksum.h"

#include <gtest/gtest.h>
#include <unistd.h>

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
  EXPECT_TRUE(file_checksum(context, files.path(), {"*"}, {}, 20).ok());
  const auto stopped = file_checksum(context, files.path(), {"*"}, {}, 19);
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().code(), Code::exhausted);
}

TEST(FileChecksumTest, ListsNoDeeperThanAPatternReaches) {
  const test::TempDir files;
  std::filesystem::create_directories(files.path_of("deep/er"));
  for (int i = 0; i < 20; ++i) test::write_text(files.path_of("deep/f" + std::to_string(i)), "x");
  test::write_text(files.path_of("a.lock"), "x");
  const Context context;
  EXPECT_TRUE(file_checksum(context, files.path(), {"*.lock"}, {}, 2).ok());
  EXPECT_FALSE(file_checksum(context, files.path(), {"**/*.lock"}, {}, 2).ok());
}

// What caches put in place, and thaw's own stages, may be there or not when a key is computed.
TEST(FileChecksumTest, LeavesOutTargetsAndStages) {
  const test::TempDir files;
  const std::string stage = ".thaw-stage-0123456789abcdef0123456789abcdef";
  const auto of = [&](const Texts& patterns, const Texts& left_out) {
    const auto value = file_checksum(Context(), files.path(), patterns, left_out);
    return value.ok() ? *value : value.error().text();
  };
  test::write_text(files.path_of("a.lock"), "a");
  const std::string before = of({"**/*.lock"}, {});
  std::filesystem::create_directories(files.path_of("modules/deep"));
  std::filesystem::create_directories(files.path_of(stage + "/tree"));
  std::filesystem::create_directories(files.path_of("modules-too"));
  std::filesystem::create_directory_symlink("modules", files.path_of("link"));
  test::write_text(files.path_of("modules/deep/b.lock"), "b");
  test::write_text(files.path_of(stage + "/tree/c.lock"), "c");
  test::write_text(files.path_of("state.lock"), "d");
  const Texts targets = {files.path_of("modules"), files.path_of("state.lock")};
  EXPECT_EQ(of({"**/*.lock"}, targets), before);
  EXPECT_NE(of({"**/*.lock"}, {targets[0]}), before);
  // However a target, or a pattern, is spelled.
  EXPECT_EQ(of({"./**/*.lock"}, {files.path_of("./x/../modules"), targets[1]}), before);
  EXPECT_EQ(of({"**/*.lock"}, {files.path_of("link"), targets[1]}), before);
  EXPECT_EQ(of({files.path() + "/**/*.lock"}, targets), before);
  for (const char* inside : {"modules/**/*.lock", "modules/deep/*", "link/deep/*", "state.*"})
    EXPECT_NE(of({inside}, targets).find("matches no file"), std::string::npos) << inside;
  // Only whole names.
  test::write_text(files.path_of("modules-too/e.lock"), "e");
  EXPECT_NE(of({"**/*.lock"}, targets), before);
  // Who names a file means it.
  EXPECT_EQ(of({"modules/deep/b.lock"}, targets).size(), 64U);
  EXPECT_EQ(of({"modules/deep/b.lock", "a.lock"}, targets).size(), 64U);
}

TEST(FileChecksumTest, CountsAFileOnceHoweverItIsSpelled) {
  const test::TempDir files;
  test::write_text(files.path_of("a"), "a");
  test::write_text(files.path_of("b"), "b");
  const auto of = [&](const Texts& patterns) {
    return file_checksum(Context(), files.path(), patterns).value();
  };
  const std::string once = of({"a", "b"});
  EXPECT_EQ(of({"a", "./b", "b", ".//a"}), once);
  EXPECT_EQ(of({"./*", "*"}), once);
  EXPECT_EQ(of({"./*", files.path_of("b"), "x/../a"}), once);
}

TEST(FileChecksumTest, PassesOverAFolderThatMayNotBeRead) {
  if (::geteuid() == 0) GTEST_SKIP() << "root reads everything";
  const test::TempDir files;
  test::write_text(files.path_of("a.lock"), "a");
  const auto before = file_checksum(Context(), files.path(), {"**/*.lock"});
  std::filesystem::create_directories(files.path_of("closed"));
  std::filesystem::permissions(files.path_of("closed"), std::filesystem::perms::none);
  const auto after = file_checksum(Context(), files.path(), {"**/*.lock"});
  std::filesystem::permissions(files.path_of("closed"), std::filesystem::perms::owner_all);
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(*after, *before);
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
