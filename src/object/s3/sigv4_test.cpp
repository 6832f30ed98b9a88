#include "object/s3/sigv4.h"

#include <gtest/gtest.h>

namespace thaw::s3::test {
namespace {

constexpr const char* kEmptyPayload =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

Timestamp at(int64_t seconds) { return {seconds * 1'000'000'000}; }

std::string authorization(const std::vector<HttpHeader>& headers) {
  for (const HttpHeader& header : headers) {
    if (header.name == "authorization") return header.value;
  }
  return "";
}

std::string signature(const std::vector<HttpHeader>& headers) {
  const std::string text = authorization(headers);
  return text.substr(text.rfind('=') + 1);
}

// "Signature Calculations for the Authorization Header", Amazon S3 API Reference: its four
// examples, all on 2013-05-24.
class S3Examples : public testing::Test {
 protected:
  std::string signed_with(const SignedRequest& request) const {
    return signature(sign(request, {"us-east-1", "s3"}, credentials_, at(1369353600)));
  }
  const Credentials credentials_{"AKIAIOSFODNN7EXAMPLE",
                                 Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), Secret(),
                                 std::nullopt};
  const std::string host_ = "examplebucket.s3.amazonaws.com";
};

TEST_F(S3Examples, GetObject) {
  EXPECT_EQ(signed_with({"GET", host_, "/test.txt", "", {{"range", "bytes=0-9"}}, kEmptyPayload}),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST_F(S3Examples, PutObject) {
  EXPECT_EQ(signed_with({"PUT",
                         host_,
                         "/" + uri_encoded("test$file.text", Slash::keep),
                         "",
                         {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                          {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                         sha256(as_bytes("Welcome to Amazon S3.")).hex()}),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST_F(S3Examples, GetBucketLifecycle) {
  EXPECT_EQ(
      signed_with({"GET", host_, "/", canonical_query({{"lifecycle", ""}}), {}, kEmptyPayload}),
      "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST_F(S3Examples, ListObjects) {
  EXPECT_EQ(signed_with({"GET",
                         host_,
                         "/",
                         canonical_query({{"prefix", "J"}, {"max-keys", "2"}}),
                         {},
                         kEmptyPayload}),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

// AWS's Signature Version 4 test suite: credentials, scope and time are the same throughout.
class TestSuite : public testing::Test {
 protected:
  std::vector<HttpHeader> sign_it(SignedRequest request, std::string token = "") const {
    request.host = "example.amazonaws.com";
    request.payload = kEmptyPayload;
    const Credentials credentials{"AKIDEXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
                                  Secret(std::move(token)), std::nullopt};
    return sign(request, {"us-east-1", "service"}, credentials, at(1440938160));
  }
};

TEST_F(TestSuite, GetVanilla) {
  EXPECT_EQ(authorization(sign_it({"GET", "", "/", "", {}, ""})),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"
            "SignedHeaders=host;x-amz-date,"
            "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

TEST_F(TestSuite, GetVanillaQueryOrderKeyCase) {
  EXPECT_EQ(
      signature(sign_it(
          {"GET", "", "/", canonical_query({{"Param2", "value2"}, {"Param1", "value1"}}), {}, ""})),
      "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
}

TEST_F(TestSuite, PostVanilla) {
  EXPECT_EQ(signature(sign_it({"POST", "", "/", "", {}, ""})),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

TEST_F(TestSuite, GetHeaderValueTrim) {
  EXPECT_EQ(
      signature(sign_it(
          {"GET", "", "/", "", {{"my-header1", " value1"}, {"my-header2", " \"a   b   c\""}}, ""})),
      "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
}

TEST_F(TestSuite, GetUnreserved) {
  const std::string path = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  EXPECT_EQ(uri_encoded(path, Slash::keep), path);
  EXPECT_EQ(signature(sign_it({"GET", "", path, "", {}, ""})),
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f");
}

TEST_F(TestSuite, GetUtf8) {
  EXPECT_EQ(signature(sign_it({"GET", "", uri_encoded("/\xe1\x88\xb4", Slash::keep), "", {}, ""})),
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85");
}

TEST_F(TestSuite, PostWithSessionToken) {
  const auto headers =
      sign_it({"POST", "", "/", "", {}, ""},
              "AQoDYXdzEPT//////////"
              "wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPf"
              "IeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/"
              "kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7W"
              "Z0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+"
              "scqKmlzm8F"
              "DrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==");
  EXPECT_EQ(signature(headers), "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead");
}

TEST(UriEncodedTest, EveryByte) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const std::string encoded = uri_encoded(all, Slash::encode);
  EXPECT_EQ(encoded.size(), 66U + 3 * (256 - 66));
  EXPECT_NE(encoded.find("%00%01"), std::string::npos);
  EXPECT_NE(encoded.find("%2F"), std::string::npos);
  EXPECT_NE(encoded.find("%FF"), std::string::npos);
  EXPECT_EQ(uri_encoded("a/b c", Slash::keep), "a/b%20c");
}

}  // namespace
}  // namespace thaw::s3::test
