#include "golden/lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "golden/processes.h"
#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::golden {
namespace {

using test::fails_with;
using test::is_ok;

class GoldenLock : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(is_ok(make_lock_file(path_))); }
  bool is_free(Share share) const {
    auto lock = try_lock_file(path_, share);
    return lock && lock->has_value();
  }
  test::TempDir dir_;
  const std::string path_ = dir_.path_of("lock");
};

TEST_F(GoldenLock, IsSharedOrExclusive) {
  const Context context;
  {
    const auto one = lock_file(context, path_, Share::shared);
    const auto two = lock_file(context, path_, Share::shared);
    ASSERT_TRUE(is_ok(one));
    ASSERT_TRUE(is_ok(two));
    EXPECT_FALSE(is_free(Share::exclusive));
  }
  const auto exclusive = lock_file(context, path_, Share::exclusive);
  ASSERT_TRUE(is_ok(exclusive));
  EXPECT_FALSE(is_free(Share::shared));
}

TEST_F(GoldenLock, WaitsUntilTheContextEnds) {
  const Context context;
  const auto held = lock_file(context, path_, Share::exclusive);
  ASSERT_TRUE(is_ok(held));
  const Context brief = context.within(std::chrono::milliseconds(20));
  EXPECT_TRUE(fails_with(Code::busy, lock_file(brief, path_, Share::shared)));
  StopFlag stop;
  stop.stop();
  const Context stopped(stop);
  EXPECT_TRUE(fails_with(Code::cancelled, lock_file(stopped, path_, Share::shared)));
}

TEST_F(GoldenLock, IsOfTheFileThatHasTheName) {
  const auto held = try_lock_file(path_, Share::exclusive);
  ASSERT_TRUE(is_ok(held));
  ASSERT_EQ(std::rename(path_.c_str(), dir_.path_of("other").c_str()), 0);
  EXPECT_TRUE(fails_with(Code::not_found, try_lock_file(path_, Share::shared)));
  ASSERT_TRUE(is_ok(make_lock_file(path_)));
  EXPECT_TRUE(is_free(Share::exclusive));
}

// The kernel drops a lock with the process that held it, and /proc names that process until then.
TEST_F(GoldenLock, EndsWithItsProcess) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto lock = try_lock_file(path_, Share::exclusive);
    const char said = lock && lock->has_value() ? 'y' : 'n';
    if (::write(ready[1], &said, 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  char said = 0;
  ASSERT_EQ(::read(ready[0], &said, 1), 1);
  EXPECT_EQ(said, 'y');
  EXPECT_FALSE(is_free(Share::shared));
  const auto holders = holders_of(path_, 5);
  ASSERT_EQ(holders.size(), 1U);
  EXPECT_EQ(holders.front().pid, child);
  EXPECT_EQ(writers_below(dir_.path(), 5).size(), 1U);
  EXPECT_TRUE(writers_below(dir_.path() + "/lo", 5).empty());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(is_free(Share::exclusive));
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace thaw::golden
