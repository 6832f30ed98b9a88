#include "golden/copy_tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <string>

#include "base/fd.h"
#include "golden/scrub.h"
#include "golden/walk.h"
#include "support/result_check.h"
#include "support/temp_dir.h"
#include "support/test_seed.h"

namespace thaw::golden {
namespace {

namespace fs = std::filesystem;
using test::fails_with;
using test::is_ok;
using test::read_text;
using test::write_text;

class CopyTree : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(from_);
    fs::create_directories(to_);
  }
  Result<CopyReport> copy(const Context& context, unsigned threads) {
    THAW_ASSIGN(const UniqueFd from, open_path(from_, O_RDONLY | O_DIRECTORY));
    THAW_ASSIGN(const UniqueFd to, open_path(to_, O_RDONLY | O_DIRECTORY));
    return copy_tree(context, from.get(), to.get(), from_, {.threads = threads});
  }
  test::TempDir dir_;
  const std::string from_ = dir_.path_of("from");
  const std::string to_ = dir_.path_of("to");
};

// Random trees, with names of one inode spread over folders that different threads copy.
TEST_F(CopyTree, IsTheSameForAnyNumberOfThreads) {
  std::mt19937_64 random(test::test_seed());
  std::vector<std::string> files;
  for (int i = 0; i < 400; ++i) {
    std::string folder = from_;
    for (uint64_t depth = random() % 5; depth > 0; --depth)
      folder += "/d" + std::to_string(random() % 3);
    fs::create_directories(folder);
    const std::string path = folder + "/f" + std::to_string(i);
    if (!files.empty() && random() % 3 == 0) {
      fs::create_hard_link(files[random() % files.size()], path);
    } else {
      write_text(path, std::string(random() % 5000, static_cast<char>('a' + random() % 26)));
      files.push_back(path);
    }
  }
  const Context context;
  const auto before = measure(context, from_, 2);
  ASSERT_TRUE(is_ok(before));
  for (const unsigned threads : {1U, 4U}) {
    fs::remove_all(to_);
    fs::create_directories(to_);
    const auto copied = copy(context, threads);
    ASSERT_TRUE(is_ok(copied));
    EXPECT_EQ(copied->totals.files, 400U);
    EXPECT_EQ(copied->totals.bytes, before->totals.bytes);
    EXPECT_EQ(copied->totals.dirs, before->totals.dirs);
    for (const auto& each : fs::recursive_directory_iterator(from_)) {
      const std::string other = to_ + each.path().string().substr(from_.size());
      struct stat a {};
      struct stat b {};
      ASSERT_EQ(::lstat(each.path().c_str(), &a), 0);
      ASSERT_EQ(::lstat(other.c_str(), &b), 0) << other;
      EXPECT_EQ(a.st_mode, b.st_mode);
      EXPECT_EQ(a.st_nlink, b.st_nlink);
      EXPECT_EQ(a.st_mtim.tv_sec, b.st_mtim.tv_sec);
      EXPECT_EQ(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
      if (S_ISREG(a.st_mode)) {
        EXPECT_EQ(read_text(each.path()), read_text(other));
      }
    }
  }
  // Copying is reading: the source is as it was.
  const auto after = measure(context, from_, 1);
  ASSERT_TRUE(is_ok(after));
  EXPECT_EQ(after->fingerprint, before->fingerprint);
}

TEST_F(CopyTree, StopsWhenItIsStopped) {
  write_text(from_ + "/file", "x");
  StopFlag stop;
  stop.stop();
  const Context stopped(stop);
  EXPECT_TRUE(fails_with(Code::cancelled, copy(stopped, 2)));
}

TEST_F(CopyTree, SaysWhichNameFailed) {
  write_text(from_ + "/file", "x");
  write_text(to_ + "/file", "in the way");
  const auto copied = copy(Context(), 1);
  ASSERT_FALSE(copied.ok());
  EXPECT_NE(copied.error().text().find("file"), std::string::npos);
}

TEST_F(CopyTree, AFingerprintSeesEachChange) {
  const Context context;
  write_text(from_ + "/file", "one");
  auto print = [&] { return measure(context, from_, 2)->fingerprint; };
  uint64_t last = print();
  EXPECT_EQ(print(), last);
  auto changed = [&] { return std::exchange(last, print()) != last; };
  write_text(from_ + "/other", "");
  EXPECT_TRUE(changed());
  ASSERT_EQ(::chmod((from_ + "/file").c_str(), 0600), 0);
  EXPECT_TRUE(changed());
  fs::rename(from_ + "/other", from_ + "/name");
  EXPECT_TRUE(changed());
  fs::create_hard_link(from_ + "/file", from_ + "/link");
  EXPECT_TRUE(changed());
}

TEST_F(CopyTree, ScrubTakesWholeFoldersAndFollowsNoLink) {
  fs::create_directories(from_ + "/keep/run");
  fs::create_directories(from_ + "/tmp/deep");
  write_text(from_ + "/keep/run/a.pid", "1");
  write_text(from_ + "/tmp/deep/file", "1");
  write_text(to_ + "/a.pid", "not below");
  fs::create_symlink(to_, from_ + "/link");
  const auto removed = scrub(Context(), from_, Globs({"*.pid", "/tmp"}), 2);
  ASSERT_TRUE(is_ok(removed));
  EXPECT_EQ(*removed, 2U);
  EXPECT_TRUE(fs::exists(from_ + "/keep/run"));
  EXPECT_FALSE(fs::exists(from_ + "/tmp"));
  EXPECT_TRUE(fs::exists(to_ + "/a.pid"));
}

}  // namespace
}  // namespace thaw::golden
