#include "run/settle.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::run {
namespace {

using std::chrono::milliseconds;
using test::fails_with;
using test::is_ok;

TEST(Settle, IsQuietWhenNothingChanges) {
  const test::TempDir folder;
  test::write_text(folder.path_of("a"), "1");
  const StopFlag hurry;
  const SettleRequest request{.paths = {folder.path(), folder.path_of("none")},
                              .quiet = milliseconds(30)};
  const auto settled = settle(Context(), hurry, request);
  ASSERT_TRUE(is_ok(settled));
  EXPECT_FALSE(settled->hurried);
  ASSERT_EQ(settled->marks.size(), 2U);
  const auto again = mark_tree(Context(), folder.path(), {});
  ASSERT_TRUE(is_ok(again));
  EXPECT_EQ(*again, settled->marks[0]);
  test::write_text(folder.path_of("b"), "1");
  const auto other = mark_tree(Context(), folder.path(), {});
  ASSERT_TRUE(is_ok(other));
  EXPECT_NE(*other, settled->marks[0]);
}

TEST(Settle, WhatIsLeftOutDoesNotCount) {
  const test::TempDir folder;
  const LeftOut left_out{.globs = Globs({"*.log", "tmp"}), .places = {folder.path_of("own")}};
  const auto before = mark_tree(Context(), folder.path(), left_out);
  test::write_text(folder.path_of("a.log"), "1");
  ASSERT_EQ(::mkdir(folder.path_of("tmp").c_str(), 0700), 0);
  test::write_text(folder.path_of("tmp/x"), "1");
  ASSERT_EQ(::mkdir(folder.path_of("own").c_str(), 0700), 0);
  const auto after = mark_tree(Context(), folder.path(), left_out);
  ASSERT_TRUE(is_ok(before));
  ASSERT_TRUE(is_ok(after));
  EXPECT_EQ(*before, *after);
  test::write_text(folder.path_of("a.lag"), "1");
  const auto changed = mark_tree(Context(), folder.path(), left_out);
  ASSERT_TRUE(is_ok(changed));
  EXPECT_NE(*before, *changed);
}

// A process that is stopped changes nothing, and is not done.
TEST(Settle, WhoIsStoppedIsNotQuiet) {
  const test::TempDir folder;
  const StopFlag hurry;
  const pid_t child = ::fork();
  if (child == 0) {
    ::raise(SIGSTOP);
    while (true) ::pause();
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  const SettleRequest request{
      .paths = {folder.path()}, .quiet = milliseconds(20), .command = child};
  const Context all;
  const Context bounded = all.within(milliseconds(200));
  EXPECT_TRUE(fails_with(Code::timeout, settle(bounded, hurry, request)));
  ::kill(child, SIGCONT);
  EXPECT_TRUE(is_ok(settle(all, hurry, request)));
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
}

TEST(Settle, IsNotQuietWhileSomethingChanges) {
  const test::TempDir folder;
  const StopFlag hurry;
  StopFlag writer_stops;
  std::thread writer([&] {
    for (int number = 0; !writer_stops.stopped(); ++number) {
      test::write_text(folder.path_of("file"), std::to_string(number));
      std::this_thread::yield();
    }
  });
  const Context all;
  const Context bounded = all.within(milliseconds(300));
  const auto settled =
      settle(bounded, hurry, SettleRequest{.paths = {folder.path()}, .quiet = milliseconds(100)});
  writer_stops.stop();
  writer.join();
  EXPECT_TRUE(fails_with(Code::timeout, settled));
}

TEST(Settle, EndsWhenItIsHurried) {
  const test::TempDir folder;
  StopFlag hurry;
  hurry.stop();
  const auto settled = settle(
      Context(), hurry, SettleRequest{.paths = {folder.path()}, .quiet = std::chrono::hours(1)});
  ASSERT_TRUE(is_ok(settled));
  EXPECT_TRUE(settled->hurried);
}

}  // namespace
}  // namespace thaw::run
