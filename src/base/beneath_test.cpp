#include "base/beneath.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "support/temp_dir.h"

namespace thaw {
namespace {

using test::TempDir;
using test::write_text;

class Beneath : public ::testing::Test {
 protected:
  Beneath() {
    EXPECT_TRUE(make_directories(dir_.path_of("root/a/b")));
    write_text(dir_.path_of("root/a/b/file"), "inside");
    write_text(dir_.path_of("outside"), "outside");
    EXPECT_EQ(::symlink("b", dir_.path_of("root/a/folder_link").c_str()), 0);
    EXPECT_EQ(::symlink("file", dir_.path_of("root/a/b/file_link").c_str()), 0);
    EXPECT_EQ(::symlink("../outside", dir_.path_of("root/escape").c_str()), 0);
    root_ = *open_path(dir_.path_of("root"), O_PATH | O_DIRECTORY);
  }

  const TempDir dir_;
  UniqueFd root_;
};

TEST_F(Beneath, OpensWhatLiesBelow) {
  EXPECT_TRUE(open_beneath(root_.get(), "a/b/file", O_RDONLY));
  EXPECT_TRUE(open_beneath(root_.get(), "a/b", O_RDONLY | O_DIRECTORY));
  EXPECT_TRUE(open_beneath(root_.get(), "", O_RDONLY | O_DIRECTORY));
  EXPECT_TRUE(open_beneath(root_.get(), "a/new", O_WRONLY | O_CREAT | O_EXCL, 0600));
  EXPECT_EQ(open_beneath(root_.get(), "a/none", O_RDONLY).error().code(), Code::not_found);
  EXPECT_EQ(open_beneath(root_.get(), "a/b/file/x", O_RDONLY).error().code(), Code::not_found);
}

TEST_F(Beneath, FollowsNoSymbolicLink) {
  for (const char* path : {"a/b/file_link", "a/folder_link/file", "a/folder_link", "escape"}) {
    EXPECT_FALSE(open_beneath(root_.get(), path, O_RDONLY)) << path;
  }
  EXPECT_FALSE(open_parent_beneath(root_.get(), "a/folder_link/file"));
}

TEST_F(Beneath, NeverLeavesTheRoot) {
  for (const char* path : {"..", "../outside", "a/../../outside", "/etc/passwd"}) {
    EXPECT_FALSE(open_beneath(root_.get(), path, O_RDONLY)) << path;
  }
}

TEST_F(Beneath, FindsTheParent) {
  const auto parent = open_parent_beneath(root_.get(), "a/b/file");
  ASSERT_TRUE(parent);
  EXPECT_EQ(parent->name, "file");
  EXPECT_TRUE(open_at(parent->folder.get(), "file", O_RDONLY));
  const auto top = open_parent_beneath(root_.get(), "a");
  ASSERT_TRUE(top);
  EXPECT_TRUE(open_at(top->folder.get(), "a", O_RDONLY));
  for (const char* path : {"", "..", "a/..", "a/.", "a/"}) {
    EXPECT_FALSE(open_parent_beneath(root_.get(), path)) << path;
  }
}

TEST_F(Beneath, TellsWhatIsGoneFromWhatIsSomethingElse) {
  for (const char* path : {"a/none", "none/below", "a/b/none/below"}) {
    EXPECT_TRUE(is_gone(root_.get(), path)) << path;
  }
  for (const char* path : {"", "a", "a/b/file", "a/b/file/below", "a/folder_link", "escape/x"}) {
    EXPECT_FALSE(is_gone(root_.get(), path)) << path;
  }
}

TEST_F(Beneath, WalksPathsThatAreTooLongForTheKernel) {
  UniqueFd at = *open_path(dir_.path_of("root"), O_RDONLY | O_DIRECTORY);
  const std::string part(200, 'd');
  std::string path;
  for (int depth = 0; depth < 30; ++depth) {
    ASSERT_EQ(::mkdirat(at.get(), part.c_str(), 0700), 0);
    at = *open_at(at.get(), part, O_RDONLY | O_DIRECTORY);
    path += part + "/";
  }
  ASSERT_EQ(::symlinkat("nowhere", at.get(), "link"), 0);
  const auto made = open_beneath(root_.get(), path + "file", O_WRONLY | O_CREAT, 0600);
  ASSERT_TRUE(made) << made.error().text();
  EXPECT_TRUE(open_beneath(root_.get(), path + "file", O_RDONLY));
  EXPECT_TRUE(open_parent_beneath(root_.get(), path + "file"));
  EXPECT_FALSE(open_beneath(root_.get(), path + "link", O_RDONLY));
  EXPECT_FALSE(open_beneath(root_.get(), path + "../file", O_RDONLY));
}

}  // namespace
}  // namespace thaw
