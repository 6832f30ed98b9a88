#include "index/redis_reply.h"

#include <gtest/gtest.h>

#include "support/result_check.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;
using Kind = RedisReply::Kind;

Result<std::optional<RedisReply>> parsed(std::string_view text, size_t part) {
  RedisReplies replies;
  for (size_t at = 0; at < text.size(); at += part) {
    const std::string_view next = text.substr(at, part);
    THAW_CHECK(replies.feed(as_bytes(next)));
    THAW_ASSIGN(auto reply, replies.next());
    if (reply) return reply;
  }
  return std::optional<RedisReply>();
}

TEST(RedisReplies, AreValuesHoweverTheyCome) {
  constexpr char kText[] = "*6\r\n$3\r\na\0b\r\n:-7\r\n$-1\r\n+OK\r\n*0\r\n*2\r\n:1\r\n-ERR x\r\n";
  const std::string_view whole(kText, sizeof kText - 1);
  for (const size_t part : {size_t{1}, size_t{7}, whole.size()}) {
    const auto reply = parsed(whole, part);
    ASSERT_TRUE(is_ok(reply));
    ASSERT_TRUE(reply->has_value());
    ASSERT_EQ((*reply)->kind, Kind::list);
    const auto& list = (*reply)->list;
    ASSERT_EQ(list.size(), 6U);
    EXPECT_EQ(list[0].text, std::string("a\0b", 3));
    EXPECT_EQ(list[1].integer, -7);
    EXPECT_EQ(list[2].kind, Kind::nil);
    EXPECT_EQ(list[3].text, "OK");
    EXPECT_EQ(list[4].kind, Kind::list);
    EXPECT_TRUE(list[4].list.empty());
    EXPECT_EQ(list[5].list[1].kind, Kind::error);
  }
}

TEST(RedisReplies, OneAfterAnother) {
  RedisReplies replies;
  ASSERT_TRUE(is_ok(replies.feed(as_bytes("+a\r\n:2\r\n$3\r\nx"))));
  EXPECT_EQ(replies.next().value()->text, "a");
  EXPECT_EQ(replies.next().value()->integer, 2);
  EXPECT_FALSE(replies.next().value().has_value());
  ASSERT_TRUE(is_ok(replies.feed(as_bytes("yz\r\n"))));
  EXPECT_EQ(replies.next().value()->text, "xyz");
}

TEST(RedisReplies, WhatIsNoReplyIsAnError) {
  for (const char* text : {"HTTP/1.1 200 OK\r\n", "*x\r\n", "$x\r\n", ":x\r\n", "*-2\r\n",
                           "$-2\r\n", "*999999999\r\n", "*131073\r\n", "$5\r\nabcdefg\r\n?"}) {
    RedisReplies replies;
    ASSERT_TRUE(is_ok(replies.feed(as_bytes(text))));
    auto reply = replies.next();
    if (reply) reply = replies.next();
    EXPECT_TRUE(fails_with(Code::unavailable, reply)) << text;
  }
}

TEST(RedisReplies, ThePartsOfAllListsCountTogether) {
  std::string text = "*10\r\n";
  for (int i = 0; i < 10; ++i) {
    text += "*20000\r\n";
    for (int j = 0; j < 20'000; ++j) text += ":1\r\n";
  }
  EXPECT_TRUE(fails_with(Code::unavailable, parsed(text, text.size())));
}

TEST(RedisReplies, ALongReplyIsAnError) {
  RedisReplies replies;
  ASSERT_TRUE(is_ok(replies.feed(as_bytes("$100000000\r\n"))));
  const std::string part(1 << 20, 'x');
  Result<> fed;
  for (int i = 0; i < 70 && fed; ++i) {
    fed = replies.feed(as_bytes(part));
    if (!fed) break;
    ASSERT_TRUE(is_ok(replies.next()));
  }
  EXPECT_TRUE(fails_with(Code::unavailable, fed));
}

TEST(RedisReplies, ErrorsHaveCodesAndShowNoControls) {
  const auto code = [](const char* text) { return error_of({Kind::error, text}).code(); };
  EXPECT_EQ(code("NOAUTH Authentication required."), Code::denied);
  EXPECT_EQ(code("WRONGPASS invalid"), Code::denied);
  EXPECT_EQ(code("NOPERM no"), Code::denied);
  EXPECT_EQ(code("OOM command not allowed"), Code::exhausted);
  EXPECT_EQ(code("LOADING Redis is loading"), Code::unavailable);
  EXPECT_EQ(code("BUSY Redis is busy running a script"), Code::busy);
  EXPECT_EQ(code("MOVED 3999 127.0.0.1:6381"), Code::invalid);
  EXPECT_EQ(code("WRONGTYPE Operation"), Code::invalid);
  EXPECT_EQ(code("ERR something"), Code::internal);
  const std::string text = error_of({Kind::error, "ERR \x1b[2J\n" + std::string(500, 'x')}).text();
  EXPECT_LT(text.size(), 300U);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\n'), std::string::npos);
}

TEST(RedisReplies, NumbersAndListsAreChecked) {
  EXPECT_EQ(number_of({Kind::integer, "", 5}).value(), 5);
  EXPECT_EQ(number_of({Kind::text, "-12"}).value(), -12);
  for (const char* text : {"", "x", "1x", " 1", "1e5", "99999999999999999999", "inf"}) {
    EXPECT_FALSE(number_of({Kind::text, text}).ok()) << text;
  }
  EXPECT_TRUE(fails_with(Code::denied, number_of({Kind::error, "NOAUTH"})));
  EXPECT_FALSE(number_of({Kind::nil}).ok());
  EXPECT_FALSE(list_of({Kind::text, "x"}).ok());
  EXPECT_FALSE(list_of({Kind::list}, 1).ok());
  EXPECT_TRUE(list_of(RedisReply{Kind::list}, 0).ok());
}

}  // namespace
}  // namespace thaw
