#include "object/s3/s3_answer.h"

#include <gtest/gtest.h>

#include "support/result_check.h"

namespace thaw::s3::test {
namespace {

using thaw::test::fails_with;
using thaw::test::is_ok;

Result<ListAnswer> listing(std::string_view text) { return parse_list_answer(as_bytes(text)); }

TEST(ListAnswerTest, ReadsNamesSizesAndDates) {
  const auto page = listing(
      "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>true</IsTruncated>"
      "<Contents><Key>a%2Fb+c%C3%BC</Key><LastModified>2026-03-01T12:00:00.250Z</LastModified>"
      "<ETag>&quot;abc&quot;</ETag><Size>18446744073709551615</Size></Contents>"
      "<Contents><Key>z</Key><LastModified>2026-03-01T12:00:00Z</LastModified><Size>0</Size>"
      "</Contents></ListBucketResult>");
  ASSERT_TRUE(is_ok(page));
  EXPECT_TRUE(page->truncated);
  ASSERT_EQ(page->objects.size(), 2U);
  EXPECT_EQ(page->objects[0].name, "a/b c\xc3\xbc");
  EXPECT_EQ(page->objects[0].size_bytes, UINT64_MAX);
  EXPECT_EQ(page->objects[0].etag, "abc");
  EXPECT_EQ(page->objects[0].modified.ns % 1'000'000'000, 250'000'000);
  EXPECT_EQ(page->objects[1].etag, "");
}

TEST(ListAnswerTest, WhatIsNoListingMayWorkLater) {
  const std::string entry =
      "<Contents><Key>k</Key><LastModified>2026-03-01T12:00:00Z</LastModified><Size>1</Size>"
      "</Contents>";
  const auto wrapped = [](const std::string& inner) {
    return "<ListBucketResult><IsTruncated>false</IsTruncated>" + inner + "</ListBucketResult>";
  };
  ASSERT_TRUE(is_ok(listing(wrapped(entry))));
  std::string many;
  for (int i = 0; i < 1001; ++i) many += entry;
  const std::string bad[] = {
      "",
      "<html><body>Sign in</body></html>",
      wrapped(entry).substr(0, 100),
      wrapped(many),
      "<ListBucketResult>" + entry + "</ListBucketResult>",
      wrapped("<Contents><Key>k</Key><Size>1</Size></Contents>"),
      wrapped("<Contents><Key></Key><LastModified>2026-03-01T12:00:00Z</LastModified>"
              "<Size>1</Size></Contents>"),
      wrapped("<Contents><Key>%zz</Key><LastModified>2026-03-01T12:00:00Z</LastModified>"
              "<Size>1</Size></Contents>"),
      wrapped("<Contents><Key>k</Key><LastModified>2026-03-01T12:00:00Z</LastModified>"
              "<Size>-1</Size></Contents>"),
      std::string(9 * 1024 * 1024, ' ') + wrapped(entry),
  };
  for (const std::string& text : bad) {
    EXPECT_TRUE(fails_with(Code::unavailable, listing(text))) << text.substr(0, 200);
  }
}

TEST(ListAnswerTest, EntitiesOfADocumentTypeAreNotExpanded) {
  const auto page = listing(
      "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>"
      "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>&b;</Key>"
      "<LastModified>2026-03-01T12:00:00Z</LastModified><Size>1</Size></Contents>"
      "</ListBucketResult>");
  if (page) {
    EXPECT_EQ(page->objects.at(0).name, "&b;");
  }
}

TEST(ContentRangeTest, ReadsWhatASingleRangeHas) {
  const auto range = parse_content_range("bytes 5-9/100");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first, 5U);
  EXPECT_EQ(range->last, 9U);
  EXPECT_EQ(range->size_bytes, 100U);
  for (const char* text : {"", "bytes", "bytes */100", "bytes 9-5/100", "bytes 0-100/100",
                           "items 0-1/2", "bytes 0-1", "bytes -1-2/3", "bytes 0-1/2 "}) {
    EXPECT_FALSE(parse_content_range(text)) << text;
  }
}

HttpResponse answer(int status, std::string_view code, std::vector<HttpHeader> headers = {}) {
  HttpResponse response;
  response.status = status;
  response.headers = std::move(headers);
  if (!code.empty()) {
    response.body.append(
        as_bytes("<Error><Code>" + std::string(code) + "</Code><Message>words</Message></Error>"));
  }
  return response;
}

Error error_of(const HttpResponse& response) {
  return error_of_answer(response, parse_error_answer(response.body.view()));
}

TEST(ErrorAnswerTest, StatusAndCodeDecideWhatMayBeTriedAgain) {
  const std::tuple<int, const char*, Code> cases[] = {
      {404, "NoSuchKey", Code::not_found},
      {404, "NoSuchBucket", Code::invalid},
      {403, "AccessDenied", Code::denied},
      {403, "SignatureDoesNotMatch", Code::denied},
      {401, "", Code::denied},
      {407, "", Code::denied},
      {400, "InvalidArgument", Code::invalid},
      {400, "RequestTimeout", Code::unavailable},
      {400, "BadDigest", Code::unavailable},
      {400, "XAmzContentSHA256Mismatch", Code::unavailable},
      {400, "IncompleteBody", Code::unavailable},
      {408, "", Code::unavailable},
      {409, "ConditionalRequestConflict", Code::busy},
      {429, "", Code::unavailable},
      {500, "InternalError", Code::unavailable},
      {502, "", Code::unavailable},
      {503, "SlowDown", Code::unavailable},
      {504, "", Code::unavailable},
      {501, "NotImplemented", Code::invalid},
      {507, "", Code::exhausted},
      {301, "PermanentRedirect", Code::invalid},
      {307, "TemporaryRedirect", Code::invalid},
      {405, "MethodNotAllowed", Code::invalid},
  };
  for (const auto& [status, code, expected] : cases) {
    EXPECT_EQ(error_of(answer(status, code)).code(), expected) << status << " " << code;
  }
}

TEST(ErrorAnswerTest, SaysWhatToDo) {
  const auto moved = answer(301, "PermanentRedirect", {{"x-amz-bucket-region", "eu-west-3"}});
  EXPECT_NE(error_of(moved).text().find("region=eu-west-3"), std::string::npos);
  HttpResponse malformed = answer(400, "");
  malformed.body.append(
      as_bytes("<Error><Code>AuthorizationHeaderMalformed</Code>"
               "<Message>m</Message><Region>ap-south-1</Region></Error>"));
  EXPECT_NE(error_of(malformed).text().find("region=ap-south-1"), std::string::npos);
}

TEST(ErrorAnswerTest, WhatAServerWritesStaysOneShortLine) {
  HttpResponse response = answer(500, "");
  response.body.append(as_bytes("<Error><Code>a\n\x1b[31mb</Code><Message>" +
                                std::string(20'000, 'm') + "</Message></Error>"));
  const std::string text = error_of(response).text();
  EXPECT_EQ(text.find_first_of("\n\x1b"), std::string::npos);
  EXPECT_LT(text.size(), 1200U);
}

TEST(ErrorAnswerTest, RetryAfterIsSecondsOrADate) {
  using std::chrono::seconds;
  EXPECT_EQ(error_of(answer(503, "", {{"retry-after", "7"}})).retry_after(), seconds(7));
  EXPECT_EQ(error_of(answer(503, "",
                            {{"retry-after", "Sun, 01 Mar 2026 12:00:09 GMT"},
                             {"date", "Sun, 01 Mar 2026 12:00:00 GMT"}}))
                .retry_after(),
            seconds(9));
  for (const char* text : {"-1", "soon", "1.5", "Sun, 01 Mar 2020 12:00:00 GMT"}) {
    EXPECT_FALSE(
        error_of(
            answer(503, "", {{"retry-after", text}, {"date", "Sun, 01 Mar 2026 12:00:00 GMT"}}))
            .retry_after())
        << text;
  }
}

TEST(ForeignAnswerTest, AnHtmlPageIsNoAnswerOfAnS3Server) {
  EXPECT_TRUE(foreign_answer(answer(200, "", {{"content-type", "text/html; charset=utf-8"}})));
  EXPECT_FALSE(foreign_answer(
      answer(200, "", {{"content-type", "text/html"}, {"x-amz-request-id", "tx1"}})));
  EXPECT_FALSE(foreign_answer(answer(200, "", {{"content-type", "application/octet-stream"}})));
}

TEST(DeleteAnswerTest, ListsWhatStayed) {
  const auto faults = parse_delete_answer(
      as_bytes("<DeleteResult><Error><Key>k</Key><Code>AccessDenied</Code><Message>no</Message>"
               "</Error></DeleteResult>"));
  ASSERT_TRUE(is_ok(faults));
  ASSERT_EQ(faults->size(), 1U);
  EXPECT_EQ(faults->front().code, "AccessDenied");
  EXPECT_TRUE(parse_delete_answer(as_bytes("<DeleteResult/>"))->empty());
  EXPECT_TRUE(fails_with(Code::unavailable, parse_delete_answer(as_bytes("<html/>"))));
}

}  // namespace
}  // namespace thaw::s3::test
