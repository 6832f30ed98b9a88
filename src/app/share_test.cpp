#include "app/share.h"

#include <gtest/gtest.h>

#include "support/result_check.h"

namespace thaw::test {
namespace {

TEST(ShareTest, PercentOnly) {
  ASSERT_TRUE(is_ok(parse_share("15%")));
  EXPECT_DOUBLE_EQ(*parse_share("15%"), 0.15);
  EXPECT_DOUBLE_EQ(*parse_share("0%"), 0);
  EXPECT_DOUBLE_EQ(*parse_share("100%"), 1);
  for (const char* text : {"", "%", "15", "0.15", "-1%", "101%", "nan%", "15%%", " 15%", "1e1%"}) {
    EXPECT_TRUE(fails_with(Code::invalid, parse_share(text))) << text;
  }
}

}  // namespace
}  // namespace thaw::test
