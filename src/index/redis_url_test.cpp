#include "index/redis_url.h"

#include <gtest/gtest.h>

#include "support/result_check.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;

TEST(RedisUrl, SaysWhereAndHow) {
  const auto plain = parse_redis_url("redis://cache.internal");
  ASSERT_TRUE(is_ok(plain));
  EXPECT_EQ(plain->place.host, "cache.internal");
  EXPECT_EQ(plain->place.port, 6379);
  EXPECT_FALSE(plain->tls);
  EXPECT_EQ(plain->database, 0);
  EXPECT_TRUE(plain->prefix.empty() && plain->user.empty() && plain->password.empty());

  const auto full = parse_redis_url(
      "rediss://us%40r:p%3A%2F%40:x@[::1]:7000/12?ca_file=%2Fetc%2Fca.pem&prefix=a:b");
  ASSERT_TRUE(is_ok(full));
  EXPECT_TRUE(full->tls);
  EXPECT_EQ(full->place.host, "::1");
  EXPECT_EQ(full->place.port, 7000);
  EXPECT_EQ(full->user, "us@r");
  EXPECT_EQ(full->password.reveal(), "p:/@:x");
  EXPECT_EQ(full->database, 12);
  EXPECT_EQ(full->prefix, "a:b");
  EXPECT_EQ(full->ca_file, "/etc/ca.pem");

  const auto password = parse_redis_url("redis://:sesame@h:1/");
  ASSERT_TRUE(is_ok(password));
  EXPECT_EQ(password->user, "");
  EXPECT_EQ(password->password.reveal(), "sesame");
}

TEST(RedisUrl, RefusalsDoNotRepeatIt) {
  for (const char* text : {"redis://",
                           "redis:///0",
                           "redis://:@h",
                           "redis://u:@h",
                           "redis://sesame@h",
                           "redis://u:sesame%@h",
                           "redis://u:sesame%zz@h",
                           "redis://u:sesame@",
                           "redis://u:sesame@h:",
                           "redis://u:sesame@h:0",
                           "redis://u:sesame@h:65536",
                           "redis://u:sesame@h:x",
                           "redis://u:sesame@[::1",
                           "redis://u:sesame@[::1]x",
                           "redis://u:sesame@h h",
                           "redis://u:sesame@h/x",
                           "redis://u:sesame@h/-1",
                           "redis://u:sesame@h/1/2",
                           "redis://u:sesame@h/99999999999",
                           "redis://u:sesame@h#x",
                           "redis://u:sesame@h?x=1",
                           "redis://u:sesame@h?prefix=",
                           "redis://u:sesame@h?prefix=a{b}",
                           "redis://u:sesame@h?prefix=a%20b",
                           "redis://u:sesame@h?prefix=a&prefix=b",
                           "redis://u:sesame@h?ca_file=/x",
                           "rediss://u:sesame@h?ca_file=",
                           "redis://u:sesame@h?sesame=1",
                           "http://u:sesame@h"}) {
    const auto refused = parse_redis_url(text);
    ASSERT_TRUE(fails_with(Code::invalid, refused)) << text;
    EXPECT_EQ(refused.error().text().find("sesame"), std::string::npos) << refused.error().text();
  }
}

}  // namespace
}  // namespace thaw
