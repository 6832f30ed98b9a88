#include "object/s3/credential_answer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "support/result_check.h"

namespace thaw::s3 {
namespace {

using test::fails_with;
using test::is_ok;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kSecond = 1'000'000'000;

Credentials sample() {
  return {"AKIDEXAMPLE", Secret("se cr/et+="), Secret("token="), std::nullopt};
}

TEST(FaultOf, FindsWhatCannotBeSignedWithOrSent) {
  EXPECT_EQ(fault_of(sample()), "");
  const auto with = [](auto change) {
    Credentials credentials = sample();
    change(credentials);
    return fault_of(credentials);
  };
  EXPECT_EQ(with([](auto& c) { c.session_token = Secret(); }), "");
  EXPECT_THAT(with([](auto& c) { c.access_key_id = ""; }), HasSubstr("id is empty"));
  for (const char* id : {"AK ID", "AKID\n", "AKID\r\nx-evil: 1", "AK\xc3\xa4", "AK\x7f"}) {
    EXPECT_THAT(with([&](auto& c) { c.access_key_id = id; }), HasSubstr("key id holds")) << id;
  }
  EXPECT_THAT(with([](auto& c) { c.access_key_id = std::string(257, 'A'); }), HasSubstr("long"));
  EXPECT_THAT(with([](auto& c) { c.secret_access_key = Secret(); }), HasSubstr("key is empty"));
  for (const char* secret : {"secret\n", " secret", "secret ", "se\tcret"}) {
    EXPECT_THAT(with([&](auto& c) { c.secret_access_key = Secret(secret); }),
                HasSubstr("secret access key holds"));
  }
  EXPECT_THAT(with([](auto& c) { c.secret_access_key = Secret(std::string(4097, 'x')); }),
              HasSubstr("long"));
  EXPECT_THAT(with([](auto& c) { c.session_token = Secret("a\r\nb"); }), HasSubstr("token holds"));
  EXPECT_THAT(with([](auto& c) { c.session_token = Secret(std::string(16385, 'x')); }),
              HasSubstr("long"));
}

// --- JSON

constexpr const char* kJson = R"({"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"AKID",
  "SecretAccessKey":"SECRET","Token":"TOKEN","Expiration":"2026-03-01T12:00:00Z","Extra":[{}]})";

TEST(CredentialsOfJson, ReadsBothServices) {
  const auto read = credentials_of_json(kJson, Expiry::required);
  ASSERT_TRUE(is_ok(read));
  EXPECT_EQ(read->access_key_id, "AKID");
  EXPECT_EQ(read->secret_access_key.reveal(), "SECRET");
  EXPECT_EQ(read->session_token.reveal(), "TOKEN");
  EXPECT_EQ(read->expires->iso8601(), "2026-03-01T12:00:00Z");

  const char* bare = R"({"AccessKeyId":"AKID","SecretAccessKey":"SECRET"})";
  ASSERT_TRUE(is_ok(credentials_of_json(bare, Expiry::optional)));
  EXPECT_EQ(credentials_of_json(bare, Expiry::optional)->expires, std::nullopt);
  EXPECT_TRUE(fails_with(Code::unavailable, credentials_of_json(bare, Expiry::required)));
}

TEST(CredentialsOfJson, SaysWhatTheServiceRefused) {
  const auto read = credentials_of_json(
      R"({"Code":"AssumeRoleUnauthorizedAccess","Message":"SECRET"})", Expiry::required);
  ASSERT_TRUE(fails_with(Code::denied, read));
  EXPECT_THAT(read.error().text(), HasSubstr("AssumeRoleUnauthorizedAccess"));
  EXPECT_THAT(read.error().text(), Not(HasSubstr("SECRET")));
  const auto odd = credentials_of_json(R"({"Code":"SECRET in 2 words"})", Expiry::required);
  ASSERT_TRUE(fails_with(Code::denied, odd));
  EXPECT_THAT(odd.error().text(), Not(HasSubstr("SECRET")));
}

TEST(CredentialsOfJson, RefusesWhatIsNoAnswerAndNeverQuotesIt) {
  for (const std::string text :
       {"", "SECRET", "[]", "null", "\"SECRET\"", "{", R"({"AccessKeyId":"SECRET")", "{}",
        R"({"AccessKeyId":"SECRET"})", R"({"AccessKeyId":1,"SecretAccessKey":"SECRET"})",
        R"({"AccessKeyId":"A","SecretAccessKey":["SECRET"]})",
        R"({"AccessKeyId":"A SECRET","SecretAccessKey":"S"})",
        R"({"AccessKeyId":"A","SecretAccessKey":"SECRET","Token":"T\r\nx: y"})",
        R"({"AccessKeyId":"A","SecretAccessKey":"SECRET","Expiration":"soon"})",
        R"({"AccessKeyId":"A","SecretAccessKey":"SECRET","Expiration":17})",
        R"({"AccessKeyId":"A","SecretAccessKey":"SECRET","N":1e999999})",
        "{\"AccessKeyId\":\"SECRET\xff\",\"SecretAccessKey\":\"S\"}"}) {
    const auto read = credentials_of_json(text, Expiry::optional);
    ASSERT_TRUE(fails_with(Code::unavailable, read)) << text;
    EXPECT_THAT(read.error().text(), Not(HasSubstr("SECRET")));
  }
}

TEST(CredentialsOfJson, IsBoundedInSizeAndDepth) {
  const std::string deep(kAnswerBytes / 2, '[');
  EXPECT_TRUE(fails_with(Code::unavailable, credentials_of_json(deep, Expiry::optional)));
  const std::string closed = deep + std::string(kAnswerBytes / 2, ']');
  EXPECT_TRUE(fails_with(Code::unavailable, credentials_of_json(closed, Expiry::optional)));
  std::string large = kJson;
  large.resize(kAnswerBytes, ' ');
  EXPECT_TRUE(is_ok(credentials_of_json(large, Expiry::required)));
  EXPECT_TRUE(fails_with(Code::unavailable, credentials_of_json(large + " ", Expiry::required)));
}

// --- STS

std::string sts_answer(std::string_view key_id, std::string_view secret, std::string_view token,
                       std::string_view expiration) {
  return fmt::format(
      R"(<?xml version="1.0"?>
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>system:serviceaccount:x</SubjectFromWebIdentityToken>
    <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/a/b</Arn></AssumedRoleUser>
    <Credentials>
      <SessionToken>{}</SessionToken><SecretAccessKey>{}</SecretAccessKey>
      <Expiration>{}</Expiration><AccessKeyId>{}</AccessKeyId>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>)",
      token, secret, expiration, key_id);
}

TEST(CredentialsOfSts, ReadsTheAnswer) {
  const auto read = credentials_of_sts(
      sts_answer("\n  ASIA\n", "SEC/RET+", " TO+KEN&#61;&amp;", "2026-03-01T12:00:00.123Z"));
  ASSERT_TRUE(is_ok(read));
  EXPECT_EQ(read->access_key_id, "ASIA");
  EXPECT_EQ(read->secret_access_key.reveal(), "SEC/RET+");
  EXPECT_EQ(read->session_token.reveal(), "TO+KEN=&");
  EXPECT_EQ(read->expires->iso8601(), "2026-03-01T12:00:00Z");
}

TEST(CredentialsOfSts, RefusesWhatIsNoAnswerAndNeverQuotesIt) {
  const std::string good = sts_answer("A", "SECRET", "T", "2026-03-01T12:00:00Z");
  ASSERT_TRUE(is_ok(credentials_of_sts(good)));
  for (const std::string& text :
       {std::string(), std::string("SECRET"), std::string("<SECRET"), std::string("<a>SECRET</a>"),
        good.substr(0, good.size() / 2), sts_answer("", "SECRET", "T", "2026-03-01T12:00:00Z"),
        sts_answer("A", "", "SECRET", "2026-03-01T12:00:00Z"),
        sts_answer("A", "SECRET", "", "2026-03-01T12:00:00Z"), sts_answer("A", "SECRET", "T", ""),
        sts_answer("A", "SECRET", "T", "SECRET"),
        sts_answer("A", "SECRET", "T&#13;&#10;x: y", "2026-03-01T12:00:00Z"),
        sts_answer("<b>A</b>", "SECRET", "T", "2026-03-01T12:00:00Z"),
        good + std::string(kAnswerBytes, ' ')}) {
    const auto read = credentials_of_sts(text);
    ASSERT_TRUE(fails_with(Code::unavailable, read)) << text;
    EXPECT_THAT(read.error().text(), Not(HasSubstr("SECRET")));
  }
}

TEST(CredentialsOfSts, ExpandsNoEntitiesOfTheDocument) {
  const std::string declared =
      "<!DOCTYPE x [<!ENTITY a \"EXPANDED\"><!ENTITY f SYSTEM \"file:///etc/hostname\">]>";
  const auto read = credentials_of_sts(
      declared + sts_answer("A&a;", "S", "T", "2026-03-01T12:00:00Z").substr(21));
  ASSERT_TRUE(is_ok(read)) << "a document type is passed over";
  EXPECT_EQ(read->access_key_id, "A&a;");
}

TEST(CredentialsOfSts, SurvivesDeepDocuments) {
  std::string deep;
  while (deep.size() + 3 < kAnswerBytes) deep += "<a>";
  EXPECT_TRUE(fails_with(Code::unavailable, credentials_of_sts(deep)));
  std::string groups = "<!DOCTYPE x ";
  while (groups.size() + 3 < kAnswerBytes) groups += "<![";
  EXPECT_TRUE(fails_with(Code::unavailable, credentials_of_sts(groups)));
}

TEST(StsErrorCode, ReadsBothForms) {
  EXPECT_EQ(sts_error_code("<ErrorResponse xmlns=\"x\"><Error><Type>Sender</Type>"
                           "<Code>ExpiredTokenException</Code><Message>m</Message></Error>"
                           "<RequestId>r</RequestId></ErrorResponse>"),
            "ExpiredTokenException");
  EXPECT_EQ(sts_error_code("<Error><Code>AccessDenied</Code></Error>"), "AccessDenied");
}

TEST(StsErrorCode, AnswersNothingThatCouldBeAPieceOfAToken) {
  for (const char* text :
       {"", "no XML", "<a/>", "<Error/>", "<Error><Code>eyJhbGci.x</Code></Error>",
        "<Error><Code>eyJhbGciOiJSUzI1</Code></Error>", "<Error><Code>a b</Code></Error>",
        "<Error><Code>a&#10;b</Code></Error>",
        "<Error><Code>aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "</Code></Error>"}) {
    EXPECT_EQ(sts_error_code(text), "") << text;
  }
}

}  // namespace
}  // namespace thaw::s3
