#include "object/tier_meter.h"

#include <gtest/gtest.h>

namespace thaw {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(LatencyHistogram, AnEmptyOneHasNoQuantile) {
  const LatencyHistogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.quantile_us(0.5), 0U);
}

TEST(LatencyHistogram, ABucketEndsAtAPowerOfTwo) {
  for (const auto& [us, bound] :
       {std::pair{0, 1}, {1, 2}, {2, 4}, {3, 4}, {4, 8}, {1023, 1024}, {1024, 2048}}) {
    LatencyHistogram histogram;
    histogram.add(microseconds(us));
    EXPECT_EQ(histogram.quantile_us(0.5), static_cast<uint64_t>(bound)) << us;
  }
}

TEST(LatencyHistogram, QuantilesCountFromTheFastest) {
  LatencyHistogram histogram;
  for (int i = 0; i < 98; ++i) histogram.add(microseconds(10));
  histogram.add(microseconds(100));
  histogram.add(microseconds(5000));
  EXPECT_EQ(histogram.count(), 100U);
  EXPECT_EQ(histogram.quantile_us(0), 16U);
  EXPECT_EQ(histogram.quantile_us(0.98), 16U);
  EXPECT_EQ(histogram.quantile_us(0.99), 128U);
  EXPECT_EQ(histogram.quantile_us(1), 8192U);
  EXPECT_EQ(histogram.quantile_us(7), 8192U);
}

TEST(LatencyHistogram, WhatIsOutOfBoundsIsInTheOutermostBuckets) {
  LatencyHistogram histogram;
  histogram.add(nanoseconds(-5));
  EXPECT_EQ(histogram.quantile_us(1), 1U);
  histogram.add(seconds(100'000));
  EXPECT_EQ(histogram.quantile_us(1), uint64_t{1} << 25);
}

}  // namespace
}  // namespace thaw
