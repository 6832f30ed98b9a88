#include <gmock/gmock.h>

#include "object/s3/credential_sources.h"
#include "support/result_check.h"
#include "support/scripted_environment.h"
#include "support/scripted_http.h"
#include "support/temp_dir.h"

namespace thaw::s3 {
namespace {

using std::chrono::milliseconds;
using test::fails_with;
using test::is_ok;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr const char* kUrl = "https://sts.eu-central-1.amazonaws.com/";
constexpr const char* kAnswer = R"(<AssumeRoleWithWebIdentityResponse
 xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
 <AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>SECRET</SecretAccessKey>
 <SessionToken>SESSION</SessionToken><Expiration>2026-03-01T13:00:00Z</Expiration>
 </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>)";

std::string error_of(std::string_view code) {
  return "<ErrorResponse><Error><Type>Sender</Type><Code>" + std::string(code) +
         "</Code><Message>the token TOKEN is bad</Message></Error></ErrorResponse>";
}

class WebIdentityCredentials : public ::testing::Test {
 protected:
  WebIdentityCredentials() {
    test::write_text(token_file_, "TOKEN.a-b_c\n");
    http_.answer("POST", kUrl, 200, kAnswer);
  }
  Result<std::optional<Credentials>> load() {
    return web_identity_source(options_, test::environment_of(variables_), http_)->load(Context());
  }
  // The error's text, which never holds the token.
  std::string refused(Code code) {
    const auto loaded = load();
    EXPECT_TRUE(fails_with(code, loaded));
    const std::string text = loaded.ok() ? "" : loaded.error().text();
    EXPECT_THAT(text, Not(HasSubstr("TOKEN.")));
    EXPECT_THAT(text, Not(HasSubstr("TOKEN is bad")));
    return text;
  }

  const test::TempDir dir_;
  const std::string token_file_ = dir_.path_of("token");
  CredentialOptions options_;
  test::Variables variables_ = {{"AWS_WEB_IDENTITY_TOKEN_FILE", token_file_},
                                {"AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/a+b/c"},
                                {"AWS_ROLE_SESSION_NAME", "me@x=1"},
                                {"AWS_REGION", "eu-central-1"}};
  test::ScriptedHttp http_;
};

TEST_F(WebIdentityCredentials, AsksStsWithAForm) {
  const auto loaded = load();
  ASSERT_TRUE(is_ok(loaded));
  ASSERT_TRUE(loaded->has_value());
  EXPECT_EQ((*loaded)->access_key_id, "ASIA");
  EXPECT_EQ((*loaded)->secret_access_key.reveal(), "SECRET");
  EXPECT_EQ((*loaded)->session_token.reveal(), "SESSION");
  EXPECT_EQ((*loaded)->expires->iso8601(), "2026-03-01T13:00:00Z");

  ASSERT_THAT(http_.lines(), ElementsAre(std::string("POST ") + kUrl));
  const test::Asked asked = http_.asked().front();
  EXPECT_EQ(asked.header("content-type"), "application/x-www-form-urlencoded");
  EXPECT_EQ(asked.header("authorization"), "") << "the token is all that it takes";
  EXPECT_EQ(asked.body(),
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
            "&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fa%2Bb%2Fc"
            "&RoleSessionName=me%40x%3D1&WebIdentityToken=TOKEN.a-b_c");
  EXPECT_EQ(asked.request.route, HttpRequest::Route::environment);
  EXPECT_FALSE(asked.request.hedge.has_value());
  EXPECT_LE(asked.request.most_bytes, 64U * 1024);
  ASSERT_TRUE(asked.time_left.has_value());
  EXPECT_LE(*asked.time_left, milliseconds(10'000));
}

TEST_F(WebIdentityCredentials, ReadsTheTokenFileAtEachCall) {
  const auto source = web_identity_source(options_, test::environment_of(variables_), http_);
  ASSERT_TRUE(is_ok(source->load(Context())));
  test::write_text(token_file_, "RE+NEW/ED=&x=y");
  ASSERT_TRUE(is_ok(source->load(Context())));
  EXPECT_THAT(http_.asked().at(0).body(), HasSubstr("&WebIdentityToken=TOKEN.a-b_c"));
  EXPECT_THAT(http_.asked().at(1).body(), EndsWith("&WebIdentityToken=RE%2BNEW%2FED%3D%26x%3Dy"));
}

TEST_F(WebIdentityCredentials, MakesUpASessionName) {
  variables_.erase("AWS_ROLE_SESSION_NAME");
  ASSERT_TRUE(is_ok(load()));
  EXPECT_THAT(http_.asked().front().body(),
              MatchesRegex(".*&RoleSessionName=thaw-[0-9a-f]+&WebIdentityToken=.*"));
}

TEST_F(WebIdentityCredentials, AnswersNothingWithoutATokenFile) {
  variables_.erase("AWS_WEB_IDENTITY_TOKEN_FILE");
  const auto loaded = load();
  ASSERT_TRUE(is_ok(loaded)) << "a role's ARN alone is no configuration";
  EXPECT_FALSE(loaded->has_value());
  EXPECT_THAT(http_.lines(), IsEmpty());
}

TEST_F(WebIdentityCredentials, TheEndpointIsTheFirstThatIsNamed) {
  const auto url = [&] {
    (void)load().ok();
    return http_.asked().back().request.url;
  };
  test::write_text(dir_.path_of("config"),
                   "[default]\nregion = ap-south-1\nendpoint_url = http://profile:1\n");
  variables_["AWS_CONFIG_FILE"] = dir_.path_of("config");
  variables_["AWS_ENDPOINT_URL"] = "http://all:2";
  variables_["AWS_ENDPOINT_URL_STS"] = "https://sts.example/path";
  EXPECT_EQ(url(), "https://sts.example/path");
  variables_.erase("AWS_ENDPOINT_URL_STS");
  EXPECT_EQ(url(), "http://all:2/");
  variables_["AWS_ENDPOINT_URL"] = "http://all:2/";
  EXPECT_EQ(url(), "http://all:2/");
  variables_.erase("AWS_ENDPOINT_URL");
  EXPECT_EQ(url(), "http://profile:1/");
  variables_["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "true";
  EXPECT_EQ(url(), kUrl);
  variables_["AWS_DEFAULT_REGION"] = "us-west-2";
  EXPECT_EQ(url(), kUrl);
  options_.region = "cn-north-1";
  EXPECT_EQ(url(), "https://sts.cn-north-1.amazonaws.com.cn/");
  options_.region = "";
  variables_.erase("AWS_REGION");
  EXPECT_EQ(url(), "https://sts.us-west-2.amazonaws.com/");
  variables_.erase("AWS_DEFAULT_REGION");
  EXPECT_EQ(url(), "https://sts.ap-south-1.amazonaws.com/");
}

TEST_F(WebIdentityCredentials, RefusesWrongConfigurationBeforeItSendsAnything) {
  const test::Variables good = variables_;
  const std::tuple<const char*, std::string, const char*> cases[] = {
      {"AWS_ROLE_ARN", "", "AWS_ROLE_ARN is not"},
      {"AWS_ROLE_ARN", "role/x", "ARN is malformed"},
      {"AWS_ROLE_ARN", "arn:aws:iam::1:role/a b", "ARN is malformed"},
      {"AWS_ROLE_ARN", "arn:" + std::string(2048, 'x'), "ARN is malformed"},
      {"AWS_ROLE_SESSION_NAME", "x", "session's name"},
      {"AWS_ROLE_SESSION_NAME", "a b", "session's name"},
      {"AWS_ROLE_SESSION_NAME", std::string(65, 'x'), "session's name"},
      {"AWS_REGION", "", "set AWS_REGION"},
      {"AWS_REGION", "evil.example/", "set AWS_REGION"},
      {"AWS_REGION", "x@evil", "set AWS_REGION"},
      {"AWS_ENDPOINT_URL_STS", "sts.example", "AWS_ENDPOINT_URL_STS"},
      {"AWS_ENDPOINT_URL_STS", "https://me:PASSWORD@sts.example", "AWS_ENDPOINT_URL_STS"},
      {"AWS_ENDPOINT_URL_STS", "https://sts.example/?a", "AWS_ENDPOINT_URL_STS"},
      {"AWS_ENDPOINT_URL_STS", "file:///etc/passwd", "AWS_ENDPOINT_URL_STS"},
  };
  for (const auto& [name, value, message] : cases) {
    variables_ = good;
    variables_[name] = value;
    EXPECT_THAT(refused(Code::invalid), AllOf(HasSubstr(message), Not(HasSubstr("PASSWORD"))))
        << name << "=" << value;
  }
  EXPECT_THAT(http_.lines(), IsEmpty());
}

TEST_F(WebIdentityCredentials, RefusesTokenFilesThatHoldNoToken) {
  for (const std::string text : {"", " \n", "TOKEN.1 TOKEN.2", "TOKEN.1\nTOKEN.2", "TOKEN.\xff"}) {
    test::write_text(token_file_, text);
    EXPECT_THAT(refused(Code::invalid), HasSubstr(token_file_)) << text;
  }
  test::write_text(token_file_, std::string(20'001, 'x'));
  EXPECT_THAT(refused(Code::invalid), HasSubstr(token_file_));
  variables_["AWS_WEB_IDENTITY_TOKEN_FILE"] = dir_.path_of("missing");
  EXPECT_THAT(refused(Code::invalid), HasSubstr(dir_.path_of("missing")));
  variables_["AWS_WEB_IDENTITY_TOKEN_FILE"] = dir_.path();
  EXPECT_THAT(refused(Code::invalid), HasSubstr(dir_.path()));
  EXPECT_THAT(http_.lines(), IsEmpty());
}

TEST_F(WebIdentityCredentials, SaysWhatStsRefusedAndWhatToDo) {
  const std::tuple<int, const char*, Code, const char*> cases[] = {
      {400, "ExpiredTokenException", Code::denied, "have its file renewed"},
      {400, "InvalidIdentityToken", Code::denied, "audience"},
      {403, "AccessDenied", Code::denied, "trust policy"},
      {403, "RegionDisabledException", Code::denied, "switched off"},
      {400, "SomethingNew", Code::denied, "refused with SomethingNew"},
      {400, "IDPCommunicationError", Code::unavailable, "IDPCommunicationError"},
      {400, "Throttling", Code::busy, "too many requests"},
      {400, "RequestLimitExceeded", Code::busy, "too many requests"},
      {429, "", Code::busy, "status 429"},
      {500, "InternalFailure", Code::unavailable, "InternalFailure"},
      {503, "", Code::unavailable, "status 503"},
      {302, "", Code::invalid, "AWS_ENDPOINT_URL_STS"},
      {404, "TOKEN.", Code::denied, "status 404"},
  };
  for (const auto& [status, code, expected, message] : cases) {
    http_.answer("POST", kUrl, status, error_of(code));
    EXPECT_THAT(refused(expected),
                AllOf(HasSubstr(message), HasSubstr(kUrl),
                      HasSubstr("arn:aws:iam::123456789012:role/a+b/c"), HasSubstr(token_file_)))
        << status << " " << code;
  }
}

TEST_F(WebIdentityCredentials, SurvivesAnswersOfAnotherKind) {
  for (const std::string& body :
       {std::string(), std::string("<html>TOKEN.</html>"), std::string(70'000, ' ')}) {
    http_.answer("POST", kUrl, 200, body);
    refused(Code::unavailable);
  }
  http_.fail("POST", kUrl, Error(Code::unavailable, "no route"));
  EXPECT_THAT(refused(Code::unavailable), HasSubstr("no route"));
  http_.fail("POST", kUrl, Error(Code::timeout, "the time is up"));
  EXPECT_THAT(refused(Code::unavailable), HasSubstr("10000 ms")) << "its own limit may be retried";
  http_.fail("POST", kUrl, Error(Code::denied, "certificate"));
  EXPECT_THAT(refused(Code::denied), HasSubstr("certificate"));
}

TEST_F(WebIdentityCredentials, TheCallersDeadlineStaysItsOwn) {
  const Context root;
  const Context over = root.within(milliseconds(0));
  const auto source = web_identity_source(options_, test::environment_of(variables_), http_);
  EXPECT_TRUE(fails_with(Code::timeout, source->load(over)));
}

}  // namespace
}  // namespace thaw::s3
