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
    EXPECT_EQ(url->path, path) << text;
  }
  EXPECT_EQ(parse_store_url("x", "/")->path, "/x");
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
  EXPECT_NE(refusal_of("s3://bucket/prefix?region=x").find("not in this build"), std::string::npos);
  EXPECT_NE(refusal_of("s3:bucket").find("not in this build"), std::string::npos);
  const std::string unknown = refusal_of("gopher://host/x");
  EXPECT_NE(unknown.find("gopher"), std::string::npos);
  EXPECT_NE(unknown.find("file:///"), std::string::npos);
  EXPECT_NE(unknown.find("s3://"), std::string::npos);
}

TEST(StoreUrlTest, CredentialsAreRefusedAndNotRepeated) {
  for (const char* text : {"s3://ann:sesame@bucket/x", "s3://sesame@bucket",
                           "https://ann:sesame@host/x", "file://ann:sesame@localhost/x"}) {
    const std::string refusal = refusal_of(text);
    EXPECT_NE(refusal.find("credentials"), std::string::npos) << refusal;
    EXPECT_EQ(refusal.find("sesame"), std::string::npos) << refusal;
  }
}

}  // namespace
}  // namespace thaw::test
