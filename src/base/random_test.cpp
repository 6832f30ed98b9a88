#include "base/random.h"

#include <gtest/gtest.h>

#include <set>

namespace thaw {
namespace {

TEST(RandomId, IsFreshEachTime) {
  std::set<RandomId> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(RandomId::fresh());
  EXPECT_EQ(ids.size(), 1000U);
}

TEST(RandomId, GoesThroughText) {
  const RandomId id = RandomId::fresh();
  EXPECT_EQ(id.hex().size(), 32U);
  EXPECT_EQ(RandomId::parse(id.hex()), id);
  EXPECT_EQ(RandomId().hex(), std::string(32, '0'));
  for (const std::string& text : {std::string(31, '0'), std::string(33, '0'), std::string(34, '0'),
                                  std::string(32, 'A'), std::string(), std::string(32, 'g')}) {
    EXPECT_FALSE(RandomId::parse(text)) << text;
  }
}

}  // namespace
}  // namespace thaw
