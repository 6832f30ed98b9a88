#include "snapshot/stat_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <csignal>
#include <ctime>

#include "base/fd.h"
#include "support/random_bytes.h"
#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw {
namespace {

FileStat stat_number(uint64_t number) {
  FileStat stat;
  stat.device = 7;
  stat.inode = number;
  stat.size_bytes = 100 + number;
  stat.mtime_ns = -5;
  stat.ctime_ns = static_cast<int64_t>(number) * 1'000'000'007;
  return stat;
}

TEST(StatCache, KeepsWhatWasAddedForItsDirectoryAlone) {
  const test::TempDir dir;
  StatCache cache;
  const XattrSet xattrs = {{"user.a", std::string("\0b", 2)}};
  for (uint64_t i = 0; i < 1000; ++i) {
    cache.add(stat_number(i), sha256(as_bytes(std::to_string(i))), i == 5 ? &xattrs : nullptr);
  }
  ASSERT_TRUE(test::is_ok(cache.store(dir.path_of("cache"), dir.path())));
  const StatCache kept = StatCache::load(dir.path_of("cache"), dir.path());
  ASSERT_EQ(kept.size(), 1000U);
  for (uint64_t i = 0; i < 1000; ++i) {
    const StatRecord* record = kept.find(stat_number(i));
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(record->digest, sha256(as_bytes(std::to_string(i))));
    EXPECT_EQ(kept.xattrs_of(*record) != nullptr, i == 5);
  }
  EXPECT_EQ(*kept.xattrs_of(*kept.find(stat_number(5))), xattrs);
  EXPECT_EQ(StatCache::load(dir.path_of("cache"), dir.path_of("other")).size(), 0U);
}

TEST(StatCache, AnyDifferenceOfTheStatIsAnotherVersion) {
  StatCache cache;
  cache.add(stat_number(1), sha256({}), nullptr);
  const test::TempDir dir;
  ASSERT_TRUE(test::is_ok(cache.store(dir.path(), dir.path())));
  const StatCache kept = StatCache::load(dir.path(), dir.path());
  EXPECT_NE(kept.find(stat_number(1)), nullptr);
  for (int field = 0; field < 5; ++field) {
    FileStat stat = stat_number(1);
    if (field == 0) ++stat.device;
    if (field == 1) ++stat.inode;
    if (field == 2) ++stat.size_bytes;
    if (field == 3) ++stat.mtime_ns;
    if (field == 4) ++stat.ctime_ns;
    EXPECT_EQ(kept.find(stat), nullptr) << field;
  }
}

TEST(StatCache, ADamagedFileIsAnEmptyCache) {
  const test::TempDir dir;
  StatCache cache;
  for (uint64_t i = 0; i < 3; ++i) cache.add(stat_number(i), sha256({}), nullptr);
  ASSERT_TRUE(test::is_ok(cache.store(dir.path(), dir.path())));
  const std::string file = dir.path() + "/" + [&] {
    return sha256(as_bytes(dir.path())).hex().substr(0, 32) + ".stat";
  }();
  const std::string whole = test::read_text(file);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    test::write_text(file, damaged);
    EXPECT_EQ(StatCache::load(dir.path(), dir.path()).size(), 0U) << "byte " << i;
  }
  for (size_t n = 0; n < whole.size(); n += 7) {
    test::write_text(file, whole.substr(0, n));
    EXPECT_EQ(StatCache::load(dir.path(), dir.path()).size(), 0U) << "cut to " << n;
  }
}

class ReadLeaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGIO, SIG_IGN);
    test::write_text(path_, std::string(8192, 'a'));
    reader_ = *open_path(path_, O_RDONLY);
    if (!ReadLease(reader_.get()).unbroken()) GTEST_SKIP() << "this filesystem has no leases";
    ReadLease(reader_.get()).release();
  }
  const test::TempDir dir_;
  const std::string path_ = dir_.path_of("file");
  UniqueFd reader_;
};

TEST_F(ReadLeaseTest, IsRefusedWhileSomebodyHasTheFileOpenForWriting) {
  const UniqueFd writer = *open_path(path_, O_RDWR);
  EXPECT_FALSE(ReadLease(reader_.get()).unbroken());
}

TEST_F(ReadLeaseTest, IsRefusedWhileAWritableMappingLives) {
  void* mapping = nullptr;
  {
    const UniqueFd writer = *open_path(path_, O_RDWR);
    mapping = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer.get(), 0);
    ASSERT_NE(mapping, MAP_FAILED);
  }
  EXPECT_FALSE(ReadLease(reader_.get()).unbroken());
  ::munmap(mapping, 4096);
  EXPECT_TRUE(ReadLease(reader_.get()).unbroken());
}

TEST_F(ReadLeaseTest, IsBrokenByAWriterWhoComesLater) {
  ReadLease lease(reader_.get());
  ASSERT_TRUE(lease.unbroken());
  // Without O_NONBLOCK the open would wait for us.
  const int fd = ::open(path_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
  EXPECT_LT(fd, 0);
  EXPECT_FALSE(lease.unbroken());
  lease.release();
  const UniqueFd writer = *open_path(path_, O_WRONLY | O_NONBLOCK);
  EXPECT_TRUE(writer.valid());
}

TEST(CtimeIsPast, TheFutureIsNotAndLongAgoIs) {
  struct timespec now {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  EXPECT_FALSE(ctime_is_past(timestamp_ns(now) + 1'000'000'000));
  EXPECT_TRUE(ctime_is_past(timestamp_ns(now) - 3'000'000'000));
  // A whole second, within the last one: its filesystem may not tell two changes of that second
  // apart.
  EXPECT_FALSE(ctime_is_past((timestamp_ns(now) / 1'000'000'000 + 1) * 1'000'000'000));
}

}  // namespace
}  // namespace thaw
