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
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kRelative = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
constexpr const char* kFull = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
constexpr const char* kToken = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
constexpr const char* kTokenFile = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

constexpr const char* kEks = "http://169.254.170.23/v1/credentials";
constexpr const char* kAnswer = R"({"RoleArn":"arn:aws:iam::1:role/x","AccessKeyId":"ASIA",
  "SecretAccessKey":"SECRET","Token":"SESSION","Expiration":"2026-03-01T13:00:00Z"})";

class ContainerCredentials : public ::testing::Test {
 protected:
  Result<std::optional<Credentials>> load() {
    return container_source(test::environment_of(variables_), http_)->load(Context());
  }
  std::string refused(Code code = Code::invalid) {
    const auto loaded = load();
    EXPECT_TRUE(fails_with(code, loaded));
    const std::string text = loaded.ok() ? "" : loaded.error().text();
    EXPECT_THAT(text, Not(HasSubstr("SECRET")));
    return text;
  }

  const test::TempDir dir_;
  test::Variables variables_;
  test::ScriptedHttp http_;
};

TEST_F(ContainerCredentials, AsksTheTasksEndpoint) {
  variables_[kRelative] = "/v2/credentials/5-6?x=1";
  variables_[kFull] = "https://not.this/";
  http_.answer("GET", "http://169.254.170.2/v2/credentials/5-6?x=1", 200, kAnswer);
  const auto loaded = load();
  ASSERT_TRUE(is_ok(loaded));
  ASSERT_TRUE(loaded->has_value());
  EXPECT_EQ((*loaded)->access_key_id, "ASIA");
  EXPECT_EQ((*loaded)->secret_access_key.reveal(), "SECRET");
  EXPECT_EQ((*loaded)->session_token.reveal(), "SESSION");
  EXPECT_EQ((*loaded)->expires->iso8601(), "2026-03-01T13:00:00Z");
  ASSERT_EQ(http_.asked().size(), 1U);
  const test::Asked asked = http_.asked().front();
  EXPECT_EQ(asked.header("authorization"), "") << "none was given";
  EXPECT_EQ(asked.request.route, HttpRequest::Route::direct);
  EXPECT_LE(asked.request.most_bytes, 64U * 1024);
  ASSERT_TRUE(asked.time_left.has_value());
  EXPECT_LE(*asked.time_left, milliseconds(5'000));
}

TEST_F(ContainerCredentials, SendsThePodsTokenAndReadsItsFileEachTime) {
  const std::string path = dir_.path_of("token");
  variables_ = {{kFull, kEks}, {kTokenFile, path}, {kToken, "NOT THIS"}};
  http_.answer("GET", kEks, 200, kAnswer);
  const auto source = container_source(test::environment_of(variables_), http_);
  test::write_text(path, "first.token");
  ASSERT_TRUE(is_ok(source->load(Context())));
  test::write_text(path, "second.token\n");
  ASSERT_TRUE(is_ok(source->load(Context())));
  EXPECT_EQ(http_.asked().at(0).header("authorization"), "first.token");
  EXPECT_EQ(http_.asked().at(1).header("authorization"), "second.token");
  EXPECT_EQ(http_.asked().at(0).request.route, HttpRequest::Route::direct);
}

TEST_F(ContainerCredentials, SendsATokenFromTheEnvironment) {
  variables_ = {{kFull, kEks}, {kToken, "Basic abc="}};
  http_.answer("GET", kEks, 200, kAnswer);
  ASSERT_TRUE(is_ok(load()));
  EXPECT_EQ(http_.asked().front().header("authorization"), "Basic abc=");
}

TEST_F(ContainerCredentials, AnswersNothingWithoutAnEndpoint) {
  variables_[kToken] = "abc";
  const auto loaded = load();
  ASSERT_TRUE(is_ok(loaded));
  EXPECT_FALSE(loaded->has_value());
  EXPECT_THAT(http_.lines(), IsEmpty());
}

TEST_F(ContainerCredentials, PlainHttpGoesToThisMachineAlone) {
  for (const char* url :
       {"http://169.254.170.2/x", "http://169.254.170.23/x", "http://[fd00:ec2::23]/x",
        "http://[FD00:EC2:0:0:0:0:0:23]:80/x", "http://localhost:8080/x", "http://LOCALHOST/x",
        "http://127.0.0.1:51679/x", "http://127.255.0.9", "http://[::1]:1338/x?role=y"}) {
    variables_[kFull] = url;
    http_.answer("GET", url, 200, kAnswer);
    ASSERT_TRUE(is_ok(load())) << url;
    EXPECT_EQ(http_.asked().back().request.route, HttpRequest::Route::direct) << url;
  }
  for (const char* url :
       {"https://example.com/x", "https://10.0.0.1:8443/x", "https://[2001:db8::1]"}) {
    variables_[kFull] = url;
    http_.answer("GET", url, 200, kAnswer);
    ASSERT_TRUE(is_ok(load())) << url;
    EXPECT_EQ(http_.asked().back().request.route, HttpRequest::Route::environment) << url;
  }
}

TEST_F(ContainerCredentials, RefusesOtherHosts) {
  variables_[kToken] = "SECRET";
  for (const char* url :
       {"http://example.com/x", "http://169.254.170.3/x", "http://169.254.169.254/x",
        "http://10.0.0.1/", "http://[::2]/", "http://[::ffff:127.0.0.1]/",
        "http://[fd00:ec2::254]/", "http://127.0.0.1.example.com/", "http://localhost.example.com/",
        "http://127.1/", "http://0177.0.0.1/", "http://2130706433/", "http://0.0.0.0/",
        "http://[::]/", "http://1127.0.0.1/"}) {
    variables_[kFull] = url;
    EXPECT_THAT(refused(), AllOf(HasSubstr(kFull), HasSubstr("loopback"))) << url;
  }
  for (const char* url : {"x",
                          "/v1",
                          "ftp://127.0.0.1/",
                          "HTTP://127.0.0.1/",
                          "http:/127.0.0.1/",
                          "http://",
                          "http:///x",
                          "http://127.0.0.1@example.com/",
                          "http://me:SECRET@127.0.0.1/",
                          "http://example.com\\@127.0.0.1/",
                          "http://127.0.0.1\\.example.com/",
                          "http://127.0.0.1#.example.com/",
                          "http://127.0.0.1 /",
                          "http://127.0.0.1/\r\nx: y",
                          "http://127.0.0.1:80:80/",
                          "http://127.0.0.1:/",
                          "http://127.0.0.1:x/",
                          "http://127.0.0.1:123456/",
                          "http://%31%32%37.0.0.1/",
                          "http://[::1/",
                          "http://[::1]x/",
                          "http://[::1%25eth0]/",
                          "https://",
                          "https://me@example.com/",
                          "http://127.0.0.1\xc3\xa4/"}) {
    variables_[kFull] = url;
    EXPECT_THAT(refused(), HasSubstr("no plain URL")) << url;
  }
  EXPECT_THAT(http_.lines(), IsEmpty()) << "nobody was asked";
}

TEST_F(ContainerCredentials, RefusesRelativeOnesThatLeaveTheHost) {
  for (const char* path : {"v2/x", "@example.com/", ".example.com/", ":80@example.com/", "0/x",
                           "/x\r\nhost: y", "/x y", "/x#y", "\\@example.com/"}) {
    variables_[kRelative] = path;
    EXPECT_THAT(refused(), HasSubstr(kRelative)) << path;
  }
  EXPECT_THAT(http_.lines(), IsEmpty());
}

TEST_F(ContainerCredentials, RefusesTokensThatWouldBreakTheHeader) {
  http_.answer("GET", kEks, 200, kAnswer);
  variables_[kFull] = kEks;
  const std::string path = dir_.path_of("token");
  for (const std::string token :
       {"SECRET\r\nx-evil: 1", "SECRET\nb", "SECRET\rb", "SECRET\x7f", "SECRET\xff", "a\tSECRET"}) {
    variables_.erase(kTokenFile);
    variables_[kToken] = token;
    EXPECT_THAT(refused(), HasSubstr(kToken));
    variables_[kTokenFile] = path;
    test::write_text(path, token);
    EXPECT_THAT(refused(), HasSubstr(kTokenFile));
  }
  test::write_text(path, " \n");
  EXPECT_THAT(refused(), AllOf(HasSubstr(path), HasSubstr("empty")));
  test::write_text(path, std::string(20'001, 'x'));
  EXPECT_THAT(refused(), HasSubstr(path));
  variables_[kTokenFile] = dir_.path_of("missing");
  EXPECT_THAT(refused(), HasSubstr(dir_.path_of("missing")));
  variables_.erase(kTokenFile);
  variables_[kToken] = std::string(20'001, 'x');
  EXPECT_THAT(refused(), HasSubstr("too long"));
  EXPECT_THAT(http_.lines(), IsEmpty());
}

TEST_F(ContainerCredentials, AnEndpointThatIsNamedMustWork) {
  variables_[kFull] = kEks;
  EXPECT_THAT(refused(Code::unavailable), HasSubstr("nothing listens"));
  const std::pair<int, Code> statuses[] = {
      {400, Code::denied},      {401, Code::denied},      {403, Code::denied},
      {404, Code::denied},      {302, Code::denied},      {429, Code::busy},
      {500, Code::unavailable}, {503, Code::unavailable}, {204, Code::denied}};
  for (const auto& [status, code] : statuses) {
    http_.answer("GET", kEks, status, R"({"code":"x","message":"SECRET"})");
    EXPECT_THAT(refused(code), HasSubstr(std::to_string(status)));
  }
  for (const std::string& body : {std::string(), std::string("SECRET"),
                                  std::string("{\"SECRET\":1}"), std::string(70'000, ' ')}) {
    http_.answer("GET", kEks, 200, body);
    refused(Code::unavailable);
  }
  http_.fail("GET", kEks, Error(Code::timeout, "the time is up"));
  EXPECT_THAT(refused(Code::unavailable), HasSubstr("5000 ms"));
}

TEST_F(ContainerCredentials, KeepsThePathToItself) {
  variables_[kRelative] = "/v2/credentials/SECRET?SECRET=1";
  http_.fail("GET", "http://169.254.170.2/v2/credentials/SECRET?SECRET=1",
             Error(Code::unavailable, "http://169.254.170.2/v2/credentials/SECRET: refused"));
  EXPECT_EQ(refused(Code::unavailable), "the endpoint at 169.254.170.2: refused");
  EXPECT_THAT(container_source(test::environment_of(variables_), http_)->describe(),
              Not(HasSubstr("SECRET")));
}

}  // namespace
}  // namespace thaw::s3
