#include "archive/merge_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::archive {
namespace {

using test::is_ok;

mode_t mode_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

TEST(MergeTree, FoldersThatWereOpenedAreClosedAgainAfterAnError) {
  const test::TempDir place;
  const std::string target = place.path() + "/target";
  const std::string tree = place.path() + "/tree";
  NameTable names;
  for (const char* name : {"a", "b", "c"}) {
    std::filesystem::create_directories(tree + "/" + name);
    std::filesystem::create_directories(target + "/" + name);
    ASSERT_EQ(::chmod((target + "/" + name).c_str(), 0500), 0);
    ASSERT_TRUE(is_ok(names.add(0, name, NameKind::folder)));
  }
  const Context context;
  auto stage = Stage::make(context, target);
  ASSERT_TRUE(is_ok(stage));
  const auto folder = open_path(tree, O_RDONLY | O_DIRECTORY);
  const auto into = open_path(target, O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(folder && into);
  const MergeRequest request{
      .names = names,
      // The last one is asked about first, and somebody takes another one away.
      .speaks_of =
          [&](uint32_t) {
            std::filesystem::rename(target + "/b", place.path() + "/gone");
            return false;
          },
      .target_name = target,
  };
  bool applied = false;
  EXPECT_FALSE(merge_tree(context, *stage, folder->get(), into->get(), request, applied));
  EXPECT_EQ(mode_of(target + "/a"), mode_t{0500});
  EXPECT_EQ(mode_of(target + "/c"), mode_t{0500});
  EXPECT_TRUE(is_ok(stage->remove(context)));
}

}  // namespace
}  // namespace thaw::archive
