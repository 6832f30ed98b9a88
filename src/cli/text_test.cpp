#include "cli/text.h"

#include <gtest/gtest.h>

namespace thaw::cli {
namespace {

using std::chrono::milliseconds;

TEST(TextTest, Numbers) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(UINT64_MAX), "18,446,744,073,709,551,615");
  EXPECT_EQ(counted(1, "file"), "1 file");
  EXPECT_EQ(counted(0, "file"), "0 files");
  EXPECT_EQ(counted(2000, "directory"), "2,000 directories");
}

TEST(TextTest, Times) {
  EXPECT_EQ(seconds(milliseconds(5)), "0.01 s");
  EXPECT_EQ(seconds(milliseconds(12'340)), "12.3 s");
  EXPECT_EQ(seconds(milliseconds(125'000)), "2 min 5 s");
  EXPECT_EQ(seconds(milliseconds(7'500'000)), "2 h 5 min");
  EXPECT_EQ(seconds(milliseconds(-1)), "0.00 s");

  const int64_t s = 1'000'000'000;
  EXPECT_EQ(age(5 * s, 5 * s), "now");
  EXPECT_EQ(age(9 * s, 5 * s), "now");
  EXPECT_EQ(age(0, 90 * s), "90 s");
  EXPECT_EQ(age(0, 600 * s), "10 min");
  EXPECT_EQ(age(0, 86'400 * s), "24 h");
  EXPECT_EQ(age(0, 86'400 * s * 10), "10 days");
}

TEST(TextTest, NamesAreSafeOnATerminal) {
  EXPECT_EQ(printable("a\x1b[2Jb\n\x7f"), "a\\x1b[2Jb\\x0a\\x7f");
  EXPECT_EQ(printable("\xc3\xbc\xff"), "\xc3\xbc\xff");
}

TEST(TextTest, TablesAlign) {
  using enum Align;
  EXPECT_EQ(table({left, right}, {{"KEY", "SIZE"}, {"\xc3\xbc", "1"}, {"long", "22"}}),
            "KEY   SIZE\n"
            "\xc3\xbc        1\n"
            "long    22\n");
  EXPECT_EQ(table({left, left}, {{"a", ""}, {"bb", "c"}}), "a\nbb  c\n");
}

}  // namespace
}  // namespace thaw::cli
