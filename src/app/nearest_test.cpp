#include "app/nearest.h"

#include <gtest/gtest.h>

#include <vector>

namespace thaw::test {
namespace {

const std::vector<std::string> kNames = {"store", "timeout", "policy.allow_empty",
                                         "save.compression_level"};

TEST(NearestTest, FindsSlips) {
  EXPECT_EQ(nearest_name("stroe", kNames), "store");
  EXPECT_EQ(nearest_name("time_out", kNames), "timeout");
  EXPECT_EQ(nearest_name("policy.alow_empty", kNames), "policy.allow_empty");
  EXPECT_EQ(nearest_name("allow_empty", kNames), "policy.allow_empty");
  EXPECT_EQ(nearest_name("compression-level", kNames), "save.compression_level");
}

TEST(NearestTest, DoesNotGuessWildly) {
  EXPECT_EQ(nearest_name("colour", kNames), std::nullopt);
  EXPECT_EQ(nearest_name("", kNames), std::nullopt);
  EXPECT_EQ(nearest_name(std::string(100'000, 's'), kNames), std::nullopt);
  EXPECT_EQ(did_you_mean("colour", kNames), "");
  EXPECT_EQ(did_you_mean("stor", kNames), "; did you mean \"store\"?");
}

}  // namespace
}  // namespace thaw::test
