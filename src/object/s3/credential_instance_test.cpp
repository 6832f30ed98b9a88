#include <gmock/gmock.h>

#include "object/s3/credential_sources.h"
#include "support/result_check.h"
#include "support/scripted_environment.h"
#include "support/scripted_http.h"

namespace thaw::s3 {
namespace {

using std::chrono::milliseconds;
using test::fails_with;
using test::is_ok;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kTtlHeader = "x-aws-ec2-metadata-token-ttl-seconds";
constexpr const char* kTokenHeader = "x-aws-ec2-metadata-token";
const std::string kHost = "http://169.254.169.254";
const std::string kToken = "/latest/api/token";
const std::string kRole = "/latest/meta-data/iam/security-credentials/";

constexpr const char* kAnswer = R"({"Code":"Success","LastUpdated":"2026-03-01T07:00:00Z",
  "Type":"AWS-HMAC","AccessKeyId":"ASIA","SecretAccessKey":"SECRET","Token":"SESSION",
  "Expiration":"2026-03-01T13:00:00Z"})";

class InstanceCredentials : public ::testing::Test {
 protected:
  InstanceCredentials() { serve(kHost); }

  // A service that insists on version 2.
  void serve(const std::string& host) {
    http_.on("PUT", host + kToken, [](const Context&, const HttpRequest& request) {
      const std::string ttl = test::Asked{request, {}}.header(kTtlHeader);
      return Result<HttpResponse>(ttl.empty() ? test::http_response(400, "")
                                              : test::http_response(200, "SECRET-TOKEN=="));
    });
    with_token(host + kRole, "my+role\n");
    with_token(host + kRole + "my%2Brole", kAnswer);
  }
  void with_token(const std::string& url, std::string body) {
    http_.on("GET", url, [=](const Context&, const HttpRequest& request) {
      const bool known = test::Asked{request, {}}.header(kTokenHeader) == "SECRET-TOKEN==";
      return Result<HttpResponse>(known ? test::http_response(200, body)
                                        : test::http_response(401, ""));
    });
  }
  Result<std::optional<Credentials>> load() {
    return instance_source(test::environment_of(variables_), http_)->load(Context());
  }
  void expect_none() {
    const auto loaded = load();
    ASSERT_TRUE(is_ok(loaded));
    EXPECT_FALSE(loaded->has_value());
  }
  std::string refused(Code code) {
    const auto loaded = load();
    EXPECT_TRUE(fails_with(code, loaded));
    const std::string text = loaded.ok() ? "" : loaded.error().text();
    EXPECT_THAT(text, Not(HasSubstr("SECRET")));
    return text;
  }

  test::Variables variables_;
  test::ScriptedHttp http_;
};

TEST_F(InstanceCredentials, AsksInThreeSteps) {
  const auto loaded = load();
  ASSERT_TRUE(is_ok(loaded));
  ASSERT_TRUE(loaded->has_value());
  EXPECT_EQ((*loaded)->access_key_id, "ASIA");
  EXPECT_EQ((*loaded)->secret_access_key.reveal(), "SECRET");
  EXPECT_EQ((*loaded)->session_token.reveal(), "SESSION");
  EXPECT_EQ((*loaded)->expires->iso8601(), "2026-03-01T13:00:00Z");

  ASSERT_THAT(http_.lines(), ElementsAre("PUT " + kHost + kToken, "GET " + kHost + kRole,
                                         "GET " + kHost + kRole + "my%2Brole"));
  EXPECT_EQ(http_.asked().at(0).header(kTtlHeader), "21600");
  for (const test::Asked& asked : http_.asked()) {
    EXPECT_EQ(asked.request.route, HttpRequest::Route::direct) << "a proxy has another instance's";
    EXPECT_LE(asked.request.most_bytes, 64U * 1024);
    ASSERT_TRUE(asked.time_left.has_value());
    EXPECT_LE(*asked.time_left, milliseconds(1000));
  }
}

TEST_F(InstanceCredentials, AnswersNothingWhereThereIsNoSuchService) {
  http_.fail("PUT", kHost + kToken, Error(Code::unavailable, "no route"));
  expect_none();
  http_.fail("PUT", kHost + kToken, Error(Code::timeout, "the time is up"));
  expect_none();
  for (const int status : {301, 400, 403, 404, 405}) {
    http_.answer("PUT", kHost + kToken, status, "");
    expect_none();
  }
  for (const std::string& line : http_.lines()) EXPECT_EQ(line, "PUT " + kHost + kToken);
}

TEST_F(InstanceCredentials, AnswersNothingForAnInstanceWithoutARole) {
  http_.answer("GET", kHost + kRole, 404, "");
  expect_none();
  http_.answer("GET", kHost + kRole, 200, "\n");
  expect_none();
}

TEST_F(InstanceCredentials, OnceItHasAnsweredItsSilenceIsAnError) {
  const auto source = instance_source(test::environment_of({}), http_);
  ASSERT_TRUE(is_ok(source->load(Context())));
  http_.fail("PUT", kHost + kToken, Error(Code::unavailable, "no route"));
  EXPECT_TRUE(fails_with(Code::unavailable, source->load(Context())));
  http_.answer("PUT", kHost + kToken, 404, "");
  EXPECT_TRUE(fails_with(Code::denied, source->load(Context())));
}

TEST_F(InstanceCredentials, TheCallersEndIsNoAnswer) {
  const auto source = instance_source(test::environment_of({}), http_);
  const Context root;
  const Context over = root.within(milliseconds(0));
  EXPECT_TRUE(fails_with(Code::timeout, source->load(over)));
  StopFlag flag;
  http_.on("PUT", kHost + kToken, [&](const Context& context, const HttpRequest&) {
    flag.stop();
    return Result<HttpResponse>(context.alive().error());
  });
  EXPECT_TRUE(fails_with(Code::cancelled, source->load(Context(flag))));
}

TEST_F(InstanceCredentials, CanBeSwitchedOff) {
  for (const char* value : {"true", "TRUE", "True"}) {
    variables_["AWS_EC2_METADATA_DISABLED"] = value;
    expect_none();
  }
  EXPECT_THAT(http_.lines(), IsEmpty());
  variables_["AWS_EC2_METADATA_DISABLED"] = "false";
  EXPECT_TRUE(load()->has_value());
}

TEST_F(InstanceCredentials, VariablesNameTheEndpoint) {
  serve("http://[fd00:ec2::254]");
  variables_["AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"] = "IPv6";
  EXPECT_TRUE(load()->has_value());
  EXPECT_EQ(http_.lines().front(), "PUT http://[fd00:ec2::254]" + kToken);
  for (const char* url : {"http://127.0.0.1:1338", "http://127.0.0.1:1338/"}) {
    serve("http://127.0.0.1:1338");
    variables_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = url;
    ASSERT_TRUE(is_ok(load()));
    EXPECT_TRUE(load()->has_value());
  }
  EXPECT_THAT(instance_source(test::environment_of(variables_), http_)->describe(),
              HasSubstr("http://127.0.0.1:1338"));
}

TEST_F(InstanceCredentials, RefusesEndpointsThatAreNone) {
  for (const char* url : {"169.254.169.254", "http://me:SECRET@x/", "http://x/?y", "http://"}) {
    variables_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = url;
    EXPECT_THAT(refused(Code::invalid), HasSubstr("AWS_EC2_METADATA_SERVICE_ENDPOINT"));
    EXPECT_THAT(instance_source(test::environment_of(variables_), http_)->describe(),
                Not(HasSubstr("SECRET")));
  }
  variables_ = {{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv5"}};
  EXPECT_THAT(refused(Code::invalid), HasSubstr("neither IPv4 nor IPv6"));
  EXPECT_THAT(http_.lines(), IsEmpty());
}

TEST_F(InstanceCredentials, AServiceThatIsHereMustWork) {
  http_.answer("PUT", kHost + kToken, 500, "SECRET");
  refused(Code::unavailable);
  http_.answer("PUT", kHost + kToken, 429, "");
  refused(Code::busy);
  for (const std::string& token : {std::string(), std::string("<html> SECRET"),
                                   std::string("SECRET\r\nx: y"), std::string(4097, 'x')}) {
    http_.answer("PUT", kHost + kToken, 200, token);
    EXPECT_THAT(refused(Code::unavailable), HasSubstr("AWS_EC2_METADATA_DISABLED=true"));
  }
  const std::pair<int, Code> statuses[] = {
      {401, Code::denied}, {429, Code::busy}, {500, Code::unavailable}};
  for (const auto& [status, code] : statuses) {
    serve(kHost);
    http_.answer("GET", kHost + kRole + "my%2Brole", status, "SECRET");
    refused(code);
    http_.answer("GET", kHost + kRole, status, "SECRET");
    refused(code);
  }
  serve(kHost);
  http_.answer("GET", kHost + kRole + "my%2Brole", 404, "");
  EXPECT_THAT(refused(Code::unavailable), HasSubstr("my+role has no credentials yet"));
  http_.fail("GET", kHost + kRole + "my%2Brole", Error(Code::timeout, "the time is up"));
  EXPECT_THAT(refused(Code::unavailable), HasSubstr("1000 ms"));
  http_.fail("GET", kHost + kRole, Error(Code::unavailable, "reset"));
  EXPECT_THAT(refused(Code::unavailable), HasSubstr("reset"));
}

TEST_F(InstanceCredentials, SurvivesAnswersOfAnotherKind) {
  for (const std::string& role : {std::string("a b"), std::string("<html>"), std::string("a\x01"),
                                  std::string(129, 'x'), std::string("r\xc3\xb6le")}) {
    http_.answer("GET", kHost + kRole, 200, role);
    (void)load().ok();
    if (role == "<html>") continue;  // a name as any other, which the service then does not know
    refused(Code::unavailable);
  }
  http_.answer("GET", kHost + kRole, 200, "../../x\r\nsecond");
  (void)load().ok();
  EXPECT_EQ(http_.lines().back(), "GET " + kHost + kRole + "..%2F..%2Fx") << "one segment";
  serve(kHost);
  for (const char* body : {"", "SECRET", "[]", R"({"Code":"Success"})",
                           R"({"AccessKeyId":"A","SecretAccessKey":"SECRET","Token":"T"})"}) {
    http_.answer("GET", kHost + kRole + "my%2Brole", 200, body);
    refused(Code::unavailable);
  }
  http_.answer("GET", kHost + kRole + "my%2Brole", 200,
               R"({"Code":"AssumeRoleUnauthorizedAccess","Message":"SECRET"})");
  EXPECT_THAT(refused(Code::denied), HasSubstr("AssumeRoleUnauthorizedAccess"));
}

}  // namespace
}  // namespace thaw::s3
