#include "run/text_inbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::run {
namespace {

using test::fails_with;
using test::is_ok;

class TextInboxTest : public ::testing::Test {
 protected:
  TextInboxTest() {
    std::array<int, 2> both{};
    EXPECT_EQ(::pipe2(both.data(), O_CLOEXEC), 0);
    writing_ = UniqueFd(both[1]);
    // open() closes the number that it was given.
    inbox_.emplace(*TextInbox::open(fmt::format("fd:{}", both[0])));
  }
  Result<std::optional<std::string>> take_after(std::string_view piece) {
    EXPECT_TRUE(is_ok(write_all(writing_.get(), as_bytes(piece), "pipe")));
    return inbox_->take();
  }

  UniqueFd writing_;
  std::optional<TextInbox> inbox_;
};

TEST_F(TextInboxTest, IsWholeWhenTheObjectIs) {
  for (const char* piece : {"{\"a\": ", "{\"b\": 1}", " \n"}) {
    const auto text = take_after(piece);
    ASSERT_TRUE(is_ok(text));
    EXPECT_FALSE(text->has_value()) << piece;
  }
  const auto text = take_after("}\n");
  ASSERT_TRUE(is_ok(text));
  EXPECT_EQ(text->value_or(""), "{\"a\": {\"b\": 1} \n}\n");
}

TEST_F(TextInboxTest, IsWholeWhenTheWriterIsGone) {
  ASSERT_TRUE(is_ok(take_after("{\"a\"")));
  writing_.reset();
  const auto text = inbox_->take();
  ASSERT_TRUE(is_ok(text));
  EXPECT_EQ(text->value_or(""), "{\"a\"");
}

TEST_F(TextInboxTest, WhatIsBrokenIsNotWaitedFor) {
  ASSERT_TRUE(is_ok(take_after("{\"a\": tr")));
  const auto text = take_after("ap}");
  ASSERT_TRUE(is_ok(text));
  EXPECT_EQ(text->value_or(""), "{\"a\": trap}");
}

TEST_F(TextInboxTest, WhatIsCutOffIsWaitedFor) {
  for (const char* piece : {"{", "\"a\\u00", "e4\": [1, -", "2.5e", "3, tr", "ue, \"b"}) {
    const auto text = take_after(piece);
    ASSERT_TRUE(is_ok(text));
    EXPECT_FALSE(text->has_value()) << piece;
  }
}

TEST_F(TextInboxTest, HasALimit) {
  const std::string piece(16 * 1024, ' ');
  for (int number = 0; number < 64; ++number) ASSERT_TRUE(is_ok(take_after(piece)));
  EXPECT_TRUE(fails_with(Code::exhausted, take_after(" ")));
}

TEST(TextInbox, ReadsAFile) {
  const test::TempDir folder;
  test::write_text(folder.path_of("c.json"), "{}");
  auto inbox = TextInbox::open(folder.path_of("c.json"));
  ASSERT_TRUE(is_ok(inbox));
  const auto text = inbox->take();
  ASSERT_TRUE(is_ok(text));
  EXPECT_EQ(text->value_or("none"), "{}");
  EXPECT_TRUE(fails_with(Code::not_found, TextInbox::open(folder.path_of("none"))));
  EXPECT_FALSE(TextInbox::open("fd:9999").ok());
}

}  // namespace
}  // namespace thaw::run
