#include "app/store_url.h"

#include <gtest/gtest.h>

#include "support/result_check.h"

namespace thaw::test {
namespace {

TEST(StoreUrlTest, Directories) {
  const std::pair<const char*, const char*> cases[] = {
      {"file:///var/lib/thaw", "/var/lib/thaw"},
      {"FILE:///var/lib", "/var/lib"},
      {"file://localhost/var", "/var"},
      {"file:/var/lib", "/var/lib"},
      {"file:///a%20b/%C3%BC%3f", "/a b/\xc3\xbc?"},
      {"file:///a@b", "/a@b"},
      {"/var/lib/thaw", "/var/lib/thaw"},
      {"/a%20b?c#d", "/a%20b?c#d"},
      {"store", "/here/store"},
      {"../store", "/here/../store"},
      {"./file:x", "/here/./file:x"},
      {"a:b", "/here/a:b"},
  };
  for (const auto& [text, path] : cases) {
    const auto url = parse_store_url(text, "/here");
    ASSERT_TRUE(is_ok(url)) << text;
    ASSERT_TRUE(std::holds_alternative<DirectoryUrl>(*url)) << text;
    EXPECT_EQ(std::get<DirectoryUrl>(*url).path, path) << text;
  }
  EXPECT_EQ(std::get<DirectoryUrl>(*parse_store_url("x", "/")).path, "/x");
}

S3Url s3_url(std::string_view text) {
  auto url = parse_store_url(text, "/here");
  EXPECT_TRUE(is_ok(url)) << text;
  return url && std::holds_alternative<S3Url>(*url) ? std::get<S3Url>(*url) : S3Url();
}

TEST(StoreUrlTest, Buckets) {
  const S3Url plain = s3_url("s3://my-bucket");
  EXPECT_EQ(plain.options.bucket, "my-bucket");
  EXPECT_EQ(plain.options.prefix, "");
  EXPECT_FALSE(plain.region_named);
  EXPECT_TRUE(plain.options.checksums);
  EXPECT_EQ(plain.options.dialect, s3::Dialect::amazon);

  const S3Url full = s3_url(
      "s3://my.bucket//team%20a/fleet/?region=eu-west-1&endpoint=https://Host.example:443&"
      "addressing=path&create=check&sse=aws:kms&sse_key_id=arn%3Akey&checksums=false&anonymous="
      "true&"
      "profile=ci&ca_file=/etc/ca.pem&");
  EXPECT_EQ(full.options.bucket, "my.bucket");
  EXPECT_EQ(full.options.prefix, "team a/fleet");
  EXPECT_EQ(full.options.region, "eu-west-1");
  EXPECT_TRUE(full.region_named);
  EXPECT_EQ(full.options.endpoint, "https://host.example");
  EXPECT_EQ(full.options.addressing, s3::Addressing::path);
  EXPECT_EQ(full.options.create_only, s3::CreateOnly::check);
  EXPECT_EQ(full.options.encryption, "aws:kms");
  EXPECT_EQ(full.options.encryption_key_id, "arn:key");
  EXPECT_FALSE(full.options.checksums);
  EXPECT_TRUE(full.anonymous);
  EXPECT_EQ(full.profile, "ci");
  EXPECT_EQ(full.ca_file, "/etc/ca.pem");

  EXPECT_EQ(s3_url("s3://abc?endpoint=http://[::1]:80").options.endpoint, "http://[::1]");
  EXPECT_EQ(s3_url("s3://abc?endpoint=127.0.0.1:7480").options.endpoint, "https://127.0.0.1:7480");
  EXPECT_EQ(s3_url("gs://abc/x").options.dialect, s3::Dialect::google);
}

TEST(StoreUrlTest, BucketsRefused) {
  for (const char* text : {"s3:bucket",
                           "s3://",
                           "s3:///x",
                           "s3://ab",
                           "s3://UPPER",
                           "s3://bu cket",
                           "s3://-abc",
                           "s3://abc/a/../b",
                           "s3://abc/a//b",
                           "s3://abc/%zz",
                           "s3://abc#x",
                           "s3://abc?region=",
                           "s3://abc?region=a/b",
                           "s3://abc?endpoint=ftp://x",
                           "s3://abc?endpoint=https://a/b",
                           "s3://abc?endpoint=",
                           "s3://abc?addressing=dns",
                           "s3://abc?anonymous=maybe",
                           "s3://abc?sse=rot13",
                           "s3://abc?sse_key_id=x",
                           "s3://abc?region=%00",
                           "s3://abc?%zz=1"}) {
    EXPECT_TRUE(fails_with(Code::invalid, parse_store_url(text, "/here"))) << text;
  }
}

TEST(StoreUrlTest, Refused) {
  using namespace std::string_view_literals;
  for (const auto text : {""sv, "file://"sv, "file:"sv, "file:x"sv, "file://host/x"sv,
                          "file:///a%2"sv, "file:///a%zz"sv, "file:///a%00b"sv, "file:///a?b"sv,
                          "file:///a#b"sv, "~"sv, "~/store"sv, "/a\0b"sv}) {
    EXPECT_TRUE(fails_with(Code::invalid, parse_store_url(text, "/here"))) << text;
  }
}

std::string refusal_of(std::string_view text) {
  const auto url = parse_store_url(text, "/here");
  return url ? "not refused" : url.error().text();
}

TEST(StoreUrlTest, OtherSchemesSayWhatIsKnown) {
  EXPECT_NE(refusal_of("s3://bucket?regoin=x").find("did you mean \"region\""), std::string::npos);
  const std::string unknown = refusal_of("gopher://host/x");
  EXPECT_NE(unknown.find("gopher"), std::string::npos);
  EXPECT_NE(unknown.find("file:///"), std::string::npos);
  EXPECT_NE(unknown.find("s3://"), std::string::npos);
}

TEST(StoreUrlTest, AParameterIsGivenOnce) {
  for (const char* text :
       {"s3://bucket?region=a&region=b", "s3://bucket/x?anonymous=true&region=a&anonymous=true",
        "s3://bucket?region=a&%72egion=a"}) {
    EXPECT_NE(refusal_of(text).find("more than once"), std::string::npos) << text;
  }
}

TEST(StoreUrlTest, CredentialsAreRefusedAndNotRepeated) {
  for (const char* text :
       {"s3://ann:sesame@bucket/x", "s3://sesame@bucket", "https://ann:sesame@host/x",
        "file://ann:sesame@localhost/x", "s3://bucket/x?secret_access_key=sesame",
        "s3://AKIA:sesame/x@bucket", "s3://bucket?AWS_SECRET_ACCESS_KEY=sesame",
        "s3://bucket?token=sesame"}) {
    const std::string refusal = refusal_of(text);
    EXPECT_NE(refusal.find("credentials"), std::string::npos) << refusal;
    EXPECT_EQ(refusal.find("sesame"), std::string::npos) << refusal;
  }
}

}  // namespace
}  // namespace thaw::test
