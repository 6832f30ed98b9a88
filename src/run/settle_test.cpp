#include "run/settle.h"

#include <gtest/gtest.h>

#include <filesystem>
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
  const auto settled =
      settle(Context(), hurry, {folder.path(), folder.path_of("none")}, milliseconds(30));
  ASSERT_TRUE(is_ok(settled));
  EXPECT_EQ(*settled, Settled::quiet);
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
  const auto settled = settle(bounded, hurry, {folder.path()}, milliseconds(100));
  writer_stops.stop();
  writer.join();
  EXPECT_TRUE(fails_with(Code::timeout, settled));
}

TEST(Settle, EndsWhenItIsHurried) {
  const test::TempDir folder;
  StopFlag hurry;
  hurry.stop();
  const auto settled = settle(Context(), hurry, {folder.path()}, std::chrono::hours(1));
  ASSERT_TRUE(is_ok(settled));
  EXPECT_EQ(*settled, Settled::hurried);
}

}  // namespace
}  // namespace thaw::run
