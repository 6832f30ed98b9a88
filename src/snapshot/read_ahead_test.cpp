#include "snapshot/read_ahead.h"

#include <gtest/gtest.h>

namespace thaw {
namespace {

constexpr uint64_t kMiB = 1024 * 1024;
constexpr uint64_t kSize = 1024 * kMiB;

TEST(ReadAhead, BeginsAtTheSecondReadThatFollows) {
  ReadAhead ahead(64 * kMiB);
  EXPECT_EQ(ahead.note(1, 0, 4096, kSize).length, 0U);
  const auto range = ahead.note(1, 4096, 4096, kSize);
  EXPECT_EQ(range.offset, 8192U);
  EXPECT_EQ(range.length, ReadAhead::kFirstBytes);
}

TEST(ReadAhead, GrowsWhileReadsFollowAndAsksForNothingTwice) {
  ReadAhead ahead(64 * kMiB);
  uint64_t asked_to = 0;
  uint64_t longest = 0;
  for (uint64_t at = 0; at < 200 * kMiB; at += kMiB / 4) {
    const auto range = ahead.note(1, at, kMiB / 4, kSize);
    if (range.length == 0) continue;
    EXPECT_EQ(range.offset, asked_to == 0 ? at + kMiB / 4 : asked_to);
    asked_to = range.offset + range.length;
    EXPECT_LE(asked_to, at + kMiB / 4 + ReadAhead::kMostBytes);
    longest = std::max(longest, asked_to - at - kMiB / 4);
  }
  EXPECT_EQ(longest, ReadAhead::kMostBytes);
  EXPECT_GE(asked_to, 200 * kMiB) << "the reader was never caught up with";
}

TEST(ReadAhead, EndsWithTheFirstReadElsewhere) {
  ReadAhead ahead(64 * kMiB);
  ahead.note(1, 0, 4096, kSize);
  const auto range = ahead.note(1, 4096, 4096, kSize);
  ASSERT_NE(range.length, 0U);
  EXPECT_TRUE(ahead.is_wanted(1, range));
  EXPECT_EQ(ahead.note(1, 500 * kMiB, 4096, kSize).length, 0U);
  EXPECT_FALSE(ahead.is_wanted(1, range));
  EXPECT_NE(ahead.note(1, 500 * kMiB + 4096, 4096, kSize).length, 0U) << "and begins anew there";
}

TEST(ReadAhead, NeverAsksForMoreThanItMay) {
  ReadAhead ahead(kMiB);
  for (uint64_t at = 0; at < 20 * kMiB; at += 4096) {
    const auto range = ahead.note(1, at, 4096, kSize);
    EXPECT_LE(range.length == 0 ? 0 : range.offset + range.length, at + 4096 + kMiB);
  }
  ReadAhead off(0);
  for (uint64_t at = 0; at < kMiB; at += 4096) EXPECT_EQ(off.note(1, at, 4096, kSize).length, 0U);
}

TEST(ReadAhead, StopsAtTheEndOfTheFile) {
  ReadAhead ahead(64 * kMiB);
  ahead.note(1, 0, 4096, 10'000);
  const auto range = ahead.note(1, 4096, 4096, 10'000);
  EXPECT_EQ(range.offset + range.length, 10'000U);
  EXPECT_EQ(ahead.note(1, 8192, 10'000 - 8192, 10'000).length, 0U);
}

TEST(ReadAhead, FilesDoNotDisturbOneAnother) {
  ReadAhead ahead(64 * kMiB);
  ahead.note(1, 0, 4096, kSize);
  ahead.note(2, 0, 4096, kSize);
  EXPECT_NE(ahead.note(1, 4096, 4096, kSize).length, 0U);
  EXPECT_NE(ahead.note(2, 4096, 4096, kSize).length, 0U);
}

}  // namespace
}  // namespace thaw
