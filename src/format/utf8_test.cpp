#include "format/utf8.h"

#include <gtest/gtest.h>

namespace thaw {
namespace {

TEST(Utf8Test, EscapedIsSafeAndKeepsWhatIsWellFormed) {
  for (const char* plain :
       {"", "plain ~", "\xc3\xbc", "\xe4\xb8\xad\xe6\x96\x87", "\xf0\x9f\xa6\x80"})
    EXPECT_EQ(escaped(plain), plain);
  EXPECT_EQ(escaped("a\x1b[2Jb\n\x7f"), "a\\x1b[2Jb\\x0a\\x7f");
  EXPECT_EQ(escaped("\xff\xc3\xbc\xc3"), "\\xff\xc3\xbc\\xc3");
  EXPECT_EQ(escaped("\xe4\xb8"), "\\xe4\\xb8");
  // U+0085 moves a terminal's cursor; an overlong '/', a surrogate.
  EXPECT_EQ(escaped("\xc2\x85"), "\\xc2\\x85");
  EXPECT_EQ(escaped("\xc0\xaf"), "\\xc0\\xaf");
  EXPECT_EQ(escaped("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_TRUE(is_utf8(escaped("\x80\xf5\xfe\xe4\xb8\xad\xe4")));
}

TEST(Utf8Test, ABeginningCutsNoCharacter) {
  const std::string_view text = "a\xc3\xbc\xf0\x9f\xa6\x80z";
  EXPECT_EQ(beginning_of(text, 8), text);
  EXPECT_EQ(beginning_of(text, 7), text.substr(0, 7));
  for (const size_t bytes : {3U, 4U, 5U, 6U}) EXPECT_EQ(beginning_of(text, bytes), "a\xc3\xbc");
  for (const size_t bytes : {1U, 2U}) EXPECT_EQ(beginning_of(text, bytes), "a");
  EXPECT_EQ(beginning_of(text, 0), "");
  // What is no text ends somewhere.
  EXPECT_EQ(beginning_of(std::string(20, '\x80'), 10).size(), 10U);
}

}  // namespace
}  // namespace thaw
