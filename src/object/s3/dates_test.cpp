#include "object/s3/dates.h"

#include <gtest/gtest.h>

namespace thaw::s3::test {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(IsoDateTest, ReadsUtcWithOrWithoutAFraction) {
  EXPECT_EQ(parse_iso_date("1970-01-01T00:00:00Z"), Timestamp{0});
  EXPECT_EQ(parse_iso_date("2026-03-01T12:00:00Z"), Timestamp{1'772'366'400 * kSecond});
  EXPECT_EQ(parse_iso_date("2026-03-01T12:00:00.5Z"),
            Timestamp{1'772'366'400 * kSecond + kSecond / 2});
  EXPECT_EQ(parse_iso_date("2026-03-01T12:00:00.000000001Z"),
            Timestamp{1'772'366'400 * kSecond + 1});
  EXPECT_EQ(parse_iso_date("2024-02-29T23:59:59.999Z")->iso8601(), "2024-02-29T23:59:59Z");
  EXPECT_EQ(parse_iso_date("2261-12-31T23:59:59Z")->iso8601(), "2261-12-31T23:59:59Z");
}

TEST(IsoDateTest, RefusesAllElse) {
  for (const char* text : {"",
                           "Z",
                           "2026-03-01",
                           "2026-03-01T12:00:00",
                           "2026-03-01 12:00:00Z",
                           "2026-03-01T12:00:00+00:00",
                           "2026-03-01T12:00:00z",
                           "2026-03-01T12:00Z",
                           "2026-03-01T12:00:00.Z",
                           "2026-03-01T12:00:00.1234567890Z",
                           "2026-03-01T12:00:00,5Z",
                           "2026-03-01T12:00:00.-5Z",
                           "2026-03-01T12:00:00ZZ",
                           "2026-03-01T12:00:00Z\n",
                           " 2026-03-01T12:00:00Z",
                           "2026-3-01T12:00:00Z",
                           "2026-02-29T12:00:00Z",
                           "2026-13-01T12:00:00Z",
                           "2026-00-01T12:00:00Z",
                           "2026-03-00T12:00:00Z",
                           "2026-03-32T12:00:00Z",
                           "2026-03-01T24:00:00Z",
                           "2026-03-01T12:60:00Z",
                           "2026-03-01T12:00:60Z",
                           "-026-03-01T12:00:00Z",
                           "+026-03-01T12:00:00Z",
                           "2026-+3-01T12:00:00Z",
                           "1969-12-31T23:59:59Z",
                           "2262-01-01T00:00:00Z",
                           "9999-12-31T23:59:59Z",
                           "20260-3-01T12:00:00Z",
                           "2026-03-01T12:00:0\xd9Z"}) {
    EXPECT_EQ(parse_iso_date(text), std::nullopt) << text;
  }
}

TEST(HttpDateTest, ReadsTheOneFormatThatServersSend) {
  EXPECT_EQ(parse_http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Timestamp{0});
  EXPECT_EQ(parse_http_date("Sun, 01 Mar 2026 12:00:00 GMT"), Timestamp{1'772'366'400 * kSecond});
  EXPECT_EQ(parse_http_date("Thu, 29 Feb 2024 23:59:59 GMT")->iso8601(), "2024-02-29T23:59:59Z");
}

TEST(HttpDateTest, RefusesAllElse) {
  for (const char* text : {"", "Sun, 1 Mar 2026 12:00:00 GMT", "Sun, 01 Mar 2026 12:00:00 UTC",
                           "Sunday, 01-Mar-26 12:00:00 GMT", "Sun Mar  1 12:00:00 2026",
                           "Sun, 01 arM 2026 12:00:00 GMT", "Sun, 31 Feb 2026 12:00:00 GMT",
                           "Sun, 01 Mar 2026 24:00:00 GMT", "Sun, 01 Mar 1969 12:00:00 GMT",
                           "Sun, -1 Mar 2026 12:00:00 GMT", "Sun, 01 Mar 2026 12:00:00 GMT "}) {
    EXPECT_EQ(parse_http_date(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace thaw::s3::test
