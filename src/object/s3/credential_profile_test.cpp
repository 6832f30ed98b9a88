#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include "object/s3/credential_sources.h"
#include "support/result_check.h"
#include "support/scripted_environment.h"
#include "support/scripted_http.h"
#include "support/temp_dir.h"

namespace thaw::s3 {
namespace {

using test::fails_with;
using test::is_ok;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class ProfileCredentials : public ::testing::Test {
 protected:
  ProfileCredentials() { EXPECT_EQ(::mkdir(dir_.path_of(".aws").c_str(), 0777), 0); }

  Result<std::optional<Credentials>> load() {
    return profile_source(options_, test::environment_of(variables_), http_)->load(Context());
  }
  std::string key_id() {
    const auto loaded = load();
    EXPECT_TRUE(is_ok(loaded));
    return loaded.ok() && *loaded ? (*loaded)->access_key_id : "none";
  }
  std::string refused(Code code = Code::invalid) {
    const auto loaded = load();
    EXPECT_TRUE(fails_with(code, loaded));
    const std::string text = loaded.ok() ? "" : loaded.error().text();
    EXPECT_THAT(text, Not(HasSubstr("SECRET")));
    return text;
  }
  void write_credentials(std::string_view text) { test::write_text(credentials_, text); }
  void write_config(std::string_view text) { test::write_text(config_, text); }

  const test::TempDir dir_;
  const std::string credentials_ = dir_.path_of(".aws/credentials");
  const std::string config_ = dir_.path_of(".aws/config");
  CredentialOptions options_;
  test::Variables variables_ = {{"HOME", dir_.path()}};
  test::ScriptedHttp http_;
};

TEST_F(ProfileCredentials, ReadsTheDefaultOneBelowHome) {
  write_credentials(
      "[default]\naws_access_key_id = AKID\naws_secret_access_key = SECRET\n"
      "aws_session_token = TOKEN\n");
  const auto loaded = load();
  ASSERT_TRUE(is_ok(loaded));
  ASSERT_TRUE(loaded->has_value());
  EXPECT_EQ((*loaded)->access_key_id, "AKID");
  EXPECT_EQ((*loaded)->secret_access_key.reveal(), "SECRET");
  EXPECT_EQ((*loaded)->session_token.reveal(), "TOKEN");
  EXPECT_EQ((*loaded)->expires, std::nullopt);
}

TEST_F(ProfileCredentials, ReadsTheFilesAnewAtEachCall) {
  const auto source = profile_source(options_, test::environment_of(variables_), http_);
  EXPECT_FALSE(source->load(Context())->has_value());
  write_credentials("[default]\naws_access_key_id=A\naws_secret_access_key=S\n");
  EXPECT_EQ((*source->load(Context()))->access_key_id, "A");
}

TEST_F(ProfileCredentials, TheFirstThatNamesAProfileDecides) {
  write_credentials(
      "[default]\naws_access_key_id=D\naws_secret_access_key=S\n"
      "[a]\naws_access_key_id=A\naws_secret_access_key=S\n"
      "[b]\naws_access_key_id=B\naws_secret_access_key=S\n"
      "[c]\naws_access_key_id=C\naws_secret_access_key=S\n");
  EXPECT_EQ(key_id(), "D");
  variables_["AWS_DEFAULT_PROFILE"] = "c";
  EXPECT_EQ(key_id(), "C");
  variables_["AWS_PROFILE"] = "b";
  EXPECT_EQ(key_id(), "B");
  options_.profile = "a";
  EXPECT_EQ(key_id(), "A");
}

TEST_F(ProfileCredentials, TheCredentialsFileGoesBeforeTheConfigFile) {
  write_config("[default]\naws_access_key_id=CONFIG\naws_secret_access_key=S\nregion=x\n");
  EXPECT_EQ(key_id(), "CONFIG");
  write_credentials("[default]\naws_access_key_id=CREDENTIALS\naws_secret_access_key=S\n");
  EXPECT_EQ(key_id(), "CREDENTIALS");
  EXPECT_EQ(profile_place(options_, test::environment_of(variables_)).region, "x");
}

TEST_F(ProfileCredentials, VariablesNameTheFiles) {
  test::write_text(dir_.path_of("c1"), "[default]\naws_access_key_id=A\naws_secret_access_key=S\n");
  test::write_text(dir_.path_of("c2"),
                   "[profile x]\naws_access_key_id=X\naws_secret_access_key=S\n");
  variables_["AWS_SHARED_CREDENTIALS_FILE"] = dir_.path_of("c1");
  EXPECT_EQ(key_id(), "A");
  variables_["AWS_SHARED_CREDENTIALS_FILE"] = "~/c1";
  EXPECT_EQ(key_id(), "A");
  variables_["AWS_CONFIG_FILE"] = dir_.path_of("c2");
  variables_["AWS_PROFILE"] = "x";
  EXPECT_EQ(key_id(), "X");
  variables_.erase("HOME");
  EXPECT_THAT(profile_source(options_, test::environment_of(variables_), http_)->describe(),
              AllOf(HasSubstr("\"x\""), HasSubstr("~/c1"), HasSubstr(dir_.path_of("c2"))));
}

TEST_F(ProfileCredentials, MissingByDefaultIsNoError) {
  EXPECT_EQ(key_id(), "none");
  write_credentials("[other]\naws_access_key_id=A\n");
  EXPECT_EQ(key_id(), "none");
  write_config("[default]\nregion = x\n");
  EXPECT_EQ(key_id(), "none") << "a profile may say other things than keys";
  variables_ = {};
  EXPECT_EQ(key_id(), "none");
  variables_ = {{"AWS_CONFIG_FILE", "/dev/null"}, {"AWS_SHARED_CREDENTIALS_FILE", "/dev/null/x"}};
  EXPECT_EQ(key_id(), "none");
  EXPECT_THAT(http_.lines(), IsEmpty());
}

TEST_F(ProfileCredentials, MissingThoughItIsNamedIsAnError) {
  write_config("[default]\nregion = x\n");
  variables_["AWS_DEFAULT_PROFILE"] = "ci";
  EXPECT_THAT(refused(), AllOf(HasSubstr("AWS_DEFAULT_PROFILE"), HasSubstr("[profile ci]")));
  variables_["AWS_PROFILE"] = "ci";
  EXPECT_THAT(refused(), HasSubstr("named by AWS_PROFILE"));
  options_.profile = "ci";
  EXPECT_THAT(refused(), HasSubstr("named by the settings"));
  options_.profile = "default";
  EXPECT_EQ(key_id(), "none");
  write_config("");
  EXPECT_THAT(refused(), AllOf(HasSubstr("as [default]"), Not(HasSubstr("profile default"))));
  variables_ = {};
  refused();
}

TEST_F(ProfileCredentials, HalfAPairIsAnErrorWithItsPlace) {
  write_credentials("[default]\naws_access_key_id = A\n");
  write_config("[default]\naws_access_key_id = B\naws_secret_access_key = SECRET\n");
  EXPECT_THAT(refused(), AllOf(HasSubstr(credentials_ + ":2"), HasSubstr("secret access key")));
  write_credentials("[default]\n\naws_secret_access_key = SECRET\n");
  EXPECT_THAT(refused(), AllOf(HasSubstr(credentials_ + ":3"), HasSubstr("key id is empty")));
  write_credentials("[default]\naws_access_key_id = A B\naws_secret_access_key = SECRET\n");
  EXPECT_THAT(refused(), HasSubstr("key id holds"));
}

TEST_F(ProfileCredentials, RefusesTheWaysThatThawDoesNotGo) {
  variables_["AWS_PROFILE"] = "ci";
  for (const char* setting :
       {"sso_session = s\nsso_account_id = 1", "credential_process = /bin/x SECRET",
        "source_profile = a", "role_arn = arn:aws:iam::1:role/x\nsource_profile = a",
        "role_arn = arn:aws:iam::1:role/x\ncredential_source = Ec2InstanceMetadata"}) {
    write_config(std::string("[profile ci]\n") + setting + "\n");
    EXPECT_THAT(refused(), AllOf(HasSubstr(config_ + ":"), HasSubstr("a way to credentials"),
                                 HasSubstr("export-credentials --profile ci --format env"),
                                 HasSubstr("role_arn and web_identity_token_file")))
        << setting;
  }
  write_config("[profile ci]\nrole_arn = arn:aws:iam::1:role/x\n");
  EXPECT_THAT(refused(),
              AllOf(HasSubstr(config_ + ":2"), HasSubstr("without web_identity_token_file")));
  write_config("[profile ci]\n\nweb_identity_token_file = /x\n");
  EXPECT_THAT(refused(), AllOf(HasSubstr(config_ + ":3"), HasSubstr("without role_arn")));
  EXPECT_THAT(refused(), Not(HasSubstr("Name no profile")));
  options_.profile = "ci";
  write_config("[profile ci]\nsso_session = s\n");
  EXPECT_THAT(refused(), HasSubstr("Name no profile in the settings"))
      << "for the environment's keys are not asked then";
}

TEST_F(ProfileCredentials, KeysGoBeforeTheWaysThatThawDoesNotGo) {
  // What tools do that sign in and write the keys into the other file.
  write_config("[default]\nsso_session = s\n");
  write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S\n");
  EXPECT_EQ(key_id(), "A");
  write_config("[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = default\n");
  EXPECT_THAT(refused(), HasSubstr("source_profile")) << "those keys are not the role's";
}

TEST_F(ProfileCredentials, TakesARoleThroughSts) {
  test::write_text(dir_.path_of("token"), "WEB");
  write_config(
      "[default]\nregion = eu-west-1\nrole_arn = arn:aws:iam::1:role/x\n"
      "role_session_name = me\nweb_identity_token_file = " +
      dir_.path_of("token") + "\n");
  // Keys beside it are of another identity.
  write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S\n");
  http_.answer("POST", "https://sts.eu-west-1.amazonaws.com/", 200,
               "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
               "<AccessKeyId>ROLE</AccessKeyId><SecretAccessKey>S</SecretAccessKey>"
               "<SessionToken>T</SessionToken><Expiration>2026-03-01T13:00:00Z</Expiration>"
               "</Credentials></AssumeRoleWithWebIdentityResult>"
               "</AssumeRoleWithWebIdentityResponse>");
  EXPECT_EQ(key_id(), "ROLE");
  EXPECT_THAT(http_.asked().front().body(),
              AllOf(HasSubstr("&RoleSessionName=me&"), HasSubstr("&WebIdentityToken=WEB"),
                    HasSubstr("&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx&")));
  variables_["AWS_REGION"] = "eu-west-2";
  refused(Code::unavailable);
  EXPECT_EQ(http_.lines().back(), "POST https://sts.eu-west-2.amazonaws.com/");
  options_.region = "eu-west-3";
  refused(Code::unavailable);
  EXPECT_EQ(http_.lines().back(), "POST https://sts.eu-west-3.amazonaws.com/");
}

TEST_F(ProfileCredentials, RefusesMalformedFiles) {
  write_config("[default]\nSECRET\n");
  EXPECT_THAT(refused(), HasSubstr(config_ + ":2"));
  write_config(std::string(1024 * 1024 + 1, '\n'));
  EXPECT_THAT(refused(), HasSubstr(config_));
  variables_["AWS_CONFIG_FILE"] = dir_.path();
  EXPECT_THAT(refused(), AllOf(HasSubstr(dir_.path()), HasSubstr("named by AWS_CONFIG_FILE")));
}

TEST_F(ProfileCredentials, AFileOfSomebodyElseIsPassedOverUnlessItIsAskedFor) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  write_credentials("[default]\naws_access_key_id = A\naws_secret_access_key = S\n");
  ASSERT_EQ(::chmod(credentials_.c_str(), 0), 0);
  EXPECT_EQ(key_id(), "none");
  variables_["AWS_PROFILE"] = "default";
  EXPECT_THAT(refused(Code::denied), HasSubstr(credentials_));
  variables_ = {{"AWS_SHARED_CREDENTIALS_FILE", credentials_}};
  EXPECT_THAT(refused(Code::denied), HasSubstr("named by AWS_SHARED_CREDENTIALS_FILE"));
}

}  // namespace
}  // namespace thaw::s3
