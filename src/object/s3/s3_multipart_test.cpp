// What no real server does on demand. That it works with one is test/e2e/test_archive.py's to show.
#include <gtest/gtest.h>

#include "object/s3/s3.h"
#include "support/result_check.h"
#include "support/scripted_environment.h"
#include "support/scripted_http.h"

namespace thaw::s3::test {
namespace {

using thaw::test::fails_with;
using thaw::test::http_response;
using thaw::test::is_ok;
using thaw::test::ScriptedHttp;
using thaw::test::StepClock;

constexpr const char* kObject = "https://host.example/bucket/pre/x";
const UploadId kUpload{"up/1", "0123456789abcdef0123456789abcdef"};

class S3MultipartTest : public testing::Test {
 protected:
  static std::string error(const char* code) {
    return std::string("<Error><Code>") + code + "</Code><Message>m</Message></Error>";
  }
  static S3Options options() {
    S3Options options;
    options.bucket = "bucket";
    options.prefix = "pre";
    options.endpoint = "https://host.example";
    return options;
  }
  void respond(const char* method, const std::string& url, int status, std::string body,
               std::vector<HttpHeader> headers = {}) {
    http_.on(method, url, [=](const Context&, const HttpRequest&) -> Result<HttpResponse> {
      HttpResponse response = http_response(status, body);
      for (const HttpHeader& header : headers) response.headers.push_back(header);
      return response;
    });
  }
  Result<> complete() {
    return parts_->complete(context_, key_, kUpload, {{1, "\"a\""}, {2, "\"b\""}});
  }

  const Context context_;
  ScriptedHttp http_;
  StepClock clock_{Timestamp{1'772'366'400'000'000'000}};
  const ObjectKey key_ = *ObjectKey::parse("x");
  const std::unique_ptr<MultipartStore> parts_ =
      make_s3_multipart(options(), http_, nullptr, clock_);
  const std::string end_ = std::string(kObject) + "?uploadId=up%2F1";
};

TEST_F(S3MultipartTest, AnUploadHasANonce) {
  respond("POST", std::string(kObject) + "?uploads=", 200,
          "<InitiateMultipartUploadResult><UploadId>up/1</UploadId>"
          "</InitiateMultipartUploadResult>");
  const auto upload = parts_->begin(context_, key_);
  ASSERT_TRUE(is_ok(upload));
  EXPECT_EQ(upload->id, "up/1");
  EXPECT_EQ(http_.asked().at(0).header("x-amz-meta-thaw-upload"), upload->nonce);
}

TEST_F(S3MultipartTest, AnAnswerThatNamesNoUploadIsNone) {
  for (const char* body : {"", "<html/>", "<InitiateMultipartUploadResult/>"}) {
    respond("POST", std::string(kObject) + "?uploads=", 200, body);
    EXPECT_TRUE(fails_with(Code::unavailable, parts_->begin(context_, key_))) << body;
  }
}

TEST_F(S3MultipartTest, PartsAreNamedByTheirTags) {
  const std::string url = std::string(kObject) + "?partNumber=7&uploadId=up%2F1";
  respond("PUT", url, 200, "", {{"etag", "\"tag\""}});
  const auto part = parts_->put_part(context_, key_, kUpload, 7, Buffer(std::string("bytes")));
  ASSERT_TRUE(is_ok(part));
  EXPECT_EQ(part->etag, "\"tag\"");
  respond("PUT", url, 200, "");
  EXPECT_TRUE(
      fails_with(Code::unavailable, parts_->put_part(context_, key_, kUpload, 7, Buffer())));
}

TEST_F(S3MultipartTest, TheEndNamesAllParts) {
  respond("POST", end_, 200, "<CompleteMultipartUploadResult/>");
  ASSERT_TRUE(is_ok(complete()));
  EXPECT_EQ(http_.asked().at(0).body(),
            "<?xml "
            "version=\"1.0\"?><CompleteMultipartUpload><Part><PartNumber>1</"
            "PartNumber><ETag>\"a\"</ETag></Part>"
            "<Part><PartNumber>2</PartNumber><ETag>\"b\"</ETag></Part></CompleteMultipartUpload>");
}

TEST_F(S3MultipartTest, TwoHundredMayTellOfAFailure) {
  respond("POST", end_, 200, error("InternalError"));
  EXPECT_FALSE(complete());
  respond("POST", end_, 200, "  ");
  EXPECT_TRUE(fails_with(Code::unavailable, complete()));
}

TEST_F(S3MultipartTest, ALostAnswerIsToldByTheNonce) {
  respond("POST", end_, 404, error("NoSuchUpload"));
  respond("HEAD", kObject, 200, "", {{"x-amz-meta-thaw-upload", kUpload.nonce}});
  EXPECT_TRUE(is_ok(complete()));
  respond("HEAD", kObject, 200, "", {{"x-amz-meta-thaw-upload", "another"}});
  EXPECT_TRUE(fails_with(Code::busy, complete()));
  respond("HEAD", kObject, 404, "");
  EXPECT_TRUE(fails_with(Code::busy, complete()));
}

TEST_F(S3MultipartTest, WhatIsGoneNeedsNoAbort) {
  respond("DELETE", end_, 204, "");
  EXPECT_TRUE(is_ok(parts_->abort(context_, key_, kUpload)));
  respond("DELETE", end_, 404, error("NoSuchUpload"));
  EXPECT_TRUE(is_ok(parts_->abort(context_, key_, kUpload)));
  respond("DELETE", end_, 503, error("SlowDown"));
  EXPECT_TRUE(fails_with(Code::unavailable, parts_->abort(context_, key_, kUpload)));
}

}  // namespace
}  // namespace thaw::s3::test
