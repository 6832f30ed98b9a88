#include "golden/name.h"

#include <gtest/gtest.h>

#include <string>

#include "support/result_check.h"

namespace thaw::golden {
namespace {

using test::fails_with;
using test::is_ok;

TEST(GoldenName, IsOneSegment) {
  for (const char* text : {"a", "shop", "Shop.v2_x-1", "0", "a..b"}) {
    EXPECT_TRUE(is_ok(Name::parse(text))) << text;
  }
  EXPECT_TRUE(is_ok(Name::parse(std::string(128, 'x'))));
  for (const char* text : {"", ".", "..", ".x", "-x", "_x", "a/b", "../a", "a b", "a@1", "a\n"}) {
    EXPECT_TRUE(fails_with(Code::invalid, Name::parse(text))) << text;
  }
  EXPECT_TRUE(fails_with(Code::invalid, Name::parse(std::string(129, 'x'))));
  EXPECT_TRUE(fails_with(Code::invalid, Name::parse(std::string_view("a\0b", 3))));
}

TEST(GoldenRef, NamesAGeneration) {
  const auto all = Ref::parse("shop");
  ASSERT_TRUE(is_ok(all));
  EXPECT_EQ(all->generation, std::nullopt);
  const auto one = Ref::parse("shop@18446744073709551615");
  ASSERT_TRUE(is_ok(one));
  EXPECT_EQ(one->generation, UINT64_MAX);
  EXPECT_EQ(one->text(), "shop@18446744073709551615");
  for (const char* text : {"shop@", "shop@0", "shop@01", "shop@-1", "shop@+1", "shop@1x",
                           "shop@1@2", "shop@18446744073709551616", "@1"}) {
    EXPECT_TRUE(fails_with(Code::invalid, Ref::parse(text))) << text;
  }
}

}  // namespace
}  // namespace thaw::golden
