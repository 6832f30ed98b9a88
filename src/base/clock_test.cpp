#include "base/clock.h"

#include <gtest/gtest.h>

namespace thaw {
namespace {

TEST(Timestamp, ReadsAsIso8601) {
  EXPECT_EQ(Timestamp{}.iso8601(), "1970-01-01T00:00:00Z");
  EXPECT_EQ((Timestamp{1'772'366'400'999'999'999}.iso8601()), "2026-03-01T12:00:00Z");
  EXPECT_EQ(Timestamp{-1}.iso8601(), "1969-12-31T23:59:59Z");
  EXPECT_LT(Timestamp{1}, Timestamp{2});
}

TEST(SystemClock, IsPast2024) { EXPECT_GT(system_clock().now().iso8601(), "2024"); }

}  // namespace
}  // namespace thaw
