#include "object/s3/aws_profile.h"

#include <gmock/gmock.h>

#include "support/result_check.h"

namespace thaw::s3 {
namespace {

using test::fails_with;
using test::is_ok;
using ::testing::HasSubstr;
using ::testing::Not;

Result<std::optional<Profile>> in_credentials(std::string_view text, std::string_view name = "ci") {
  return parse_profile(text, ProfileFile::credentials, name, "FILE");
}
Result<std::optional<Profile>> in_config(std::string_view text, std::string_view name = "ci") {
  return parse_profile(text, ProfileFile::config, name, "FILE");
}
// Of a profile that must be there.
Profile found(Result<std::optional<Profile>> parsed) {
  EXPECT_TRUE(is_ok(parsed));
  if (!parsed.ok()) return {};
  EXPECT_TRUE(parsed->has_value()) << "no such profile";
  return std::move(*parsed).value_or(Profile());
}
std::string key_of(Result<std::optional<Profile>> parsed) {
  return found(std::move(parsed)).access_key_id;
}

TEST(AwsProfile, ReadsWhatThawUses) {
  const Profile profile = found(in_credentials(R"(
[other]
aws_access_key_id = NO
[ci]
aws_access_key_id = AKID
aws_secret_access_key = wJalr/XUtn+FEMI
aws_session_token = dG9rZW4==
role_arn = arn:aws:iam::1:role/x
role_session_name = me
web_identity_token_file = /var/token
region = eu-central-1
endpoint_url = https://s3.example
output = json
[last]
aws_access_key_id = NO
)"));
  EXPECT_EQ(profile.access_key_id, "AKID");
  EXPECT_EQ(profile.secret_access_key.reveal(), "wJalr/XUtn+FEMI");
  EXPECT_EQ(profile.session_token.reveal(), "dG9rZW4==");
  EXPECT_EQ(profile.keys_where, "FILE:6");
  EXPECT_EQ(profile.role_arn, "arn:aws:iam::1:role/x");
  EXPECT_EQ(profile.role_where, "FILE:8");
  EXPECT_EQ(profile.role_session_name, "me");
  EXPECT_EQ(profile.web_identity_token_file, "/var/token");
  EXPECT_EQ(profile.region, "eu-central-1");
  EXPECT_EQ(profile.endpoint_url, "https://s3.example");
  EXPECT_EQ(profile.unserved, "");
}

TEST(AwsProfile, AnswersNothingForOneThatIsNotThere) {
  for (const char* text :
       {"", "\n\n", "# nothing", "[Ci]\nregion = x\n", "[ci2]\n", "[default]\n"}) {
    const auto parsed = in_credentials(text);
    ASSERT_TRUE(is_ok(parsed)) << text;
    EXPECT_FALSE(parsed->has_value()) << text;
  }
  EXPECT_TRUE(in_credentials("[ci]")->has_value()) << "without settings it is there all the same";
}

TEST(AwsProfile, OnlyTheConfigFileHasPrefixes) {
  const std::string_view plain = "[ci]\naws_access_key_id=PLAIN\n";
  const std::string_view prefixed = "[profile ci]\naws_access_key_id=PREFIXED\n";
  EXPECT_EQ(key_of(in_credentials(plain)), "PLAIN");
  EXPECT_EQ(key_of(in_config(prefixed)), "PREFIXED");
  EXPECT_FALSE(in_credentials(prefixed)->has_value());
  EXPECT_FALSE(in_config(plain)->has_value());
  EXPECT_FALSE(in_config("[profileci]\n")->has_value());
  EXPECT_FALSE(in_config("[profile]\n")->has_value());
  EXPECT_EQ(key_of(in_config("[ profile \t ci ] ; why\naws_access_key_id=A")), "A");
}

TEST(AwsProfile, TheDefaultOneMayCarryAPrefixWhichThenCounts) {
  EXPECT_EQ(key_of(in_config("[default]\naws_access_key_id=A\n", "default")), "A");
  EXPECT_EQ(key_of(in_config("[profile default]\naws_access_key_id=B\n", "default")), "B");
  const Profile both = found(in_config(
      "[profile default]\naws_access_key_id=B\n[default]\naws_access_key_id=A\nregion=x\n",
      "default"));
  EXPECT_EQ(both.access_key_id, "B");
  EXPECT_EQ(both.region, "") << "[default] is not read at all then";
}

TEST(AwsProfile, NamesMayBeQuoted) {
  EXPECT_EQ(key_of(in_config("[profile \"my ci\"]\naws_access_key_id=A", "my ci")), "A");
  EXPECT_EQ(key_of(in_config("[profile 'my ci']\naws_access_key_id=A", "my ci")), "A");
  EXPECT_EQ(key_of(in_config("[profile my ci]\naws_access_key_id=A", "my ci")), "A");
  EXPECT_FALSE(in_config("[profile \"ci']\n", "ci")->has_value());
  EXPECT_FALSE(in_config("[profile \"]\n", "")->has_value());
}

TEST(AwsProfile, SkipsCommentsAndBlankLines) {
  EXPECT_EQ(key_of(in_credentials("\xef\xbb\xbf# one\r\n\r\n  ; two\r\n[ci] # three\r\n"
                                  "aws_access_key_id\t=\tA \t\r\n   # region = x\r\n")),
            "A");
  const Profile profile =
      found(in_credentials("[ci]\n"
                           "aws_access_key_id = A # comment\n"
                           "aws_secret_access_key = B#C;D=E ; comment = x\n"
                           "aws_session_token = # comment\n"
                           "region =\t;comment\n"
                           "role_arn =#kept"));
  EXPECT_EQ(profile.access_key_id, "A");
  EXPECT_EQ(profile.secret_access_key.reveal(), "B#C;D=E");
  EXPECT_TRUE(profile.session_token.empty());
  EXPECT_EQ(profile.region, "");
  EXPECT_EQ(profile.role_arn, "#kept");
}

TEST(AwsProfile, TheLastOfSeveralCounts) {
  const Profile profile = found(in_credentials(
      "[ci]\naws_access_key_id=A\nregion=x\n[b]\nregion=z\n[ci]\nAWS_Access_Key_ID=B\n"));
  EXPECT_EQ(profile.access_key_id, "B");
  EXPECT_EQ(profile.region, "x") << "sections of one name are one";
}

TEST(AwsProfile, SkipsWhatBelongsToAnotherSetting) {
  const Profile profile =
      found(in_config("[profile ci]\n"
                      "aws_access_key_id = A\n"
                      "s3 =\n"
                      "  aws_access_key_id = NESTED\n"
                      "  # comment\n"
                      "\n"
                      "  no equals sign\n"
                      "  [section]\n"
                      "region = x\n"
                      " region = continued\n"));
  EXPECT_EQ(profile.access_key_id, "A");
  EXPECT_EQ(profile.region, "x");
}

TEST(AwsProfile, SettingsMayAllBeIndented) {
  const Profile profile =
      found(in_config("[profile ci]\n"
                      "    aws_access_key_id = A\n"
                      "    s3 =\n"
                      "        region = nested\n"
                      "    aws_secret_access_key = B\n"
                      "  [profile other]\n"
                      "    region = y\n"));
  EXPECT_EQ(profile.access_key_id, "A");
  EXPECT_EQ(profile.secret_access_key.reveal(), "B");
  EXPECT_EQ(profile.region, "");
  EXPECT_EQ(found(in_config("[profile b]\na = b\n[profile ci]\n  region = x\n")).region, "x")
      << "each section has its own depth";
}

TEST(AwsProfile, OtherKindsOfSectionsAreSkipped) {
  EXPECT_EQ(key_of(in_config("[sso-session ci]\nsso_region = x\n[services ci]\ns3 =\n  a = b\n"
                             "[profile ci]\naws_access_key_id=A\n[plugins]\ncli_x = y\n")),
            "A");
}

TEST(AwsProfile, NamesTheFirstSettingThatThawDoesNotServe) {
  for (const char* setting : {"sso_session", "sso_start_url", "source_profile", "credential_source",
                              "credential_process", "login_session"}) {
    const Profile profile = found(
        in_config(std::string("[profile ci]\nregion=x\n") + setting + " = v\nsso_region=y\n"));
    EXPECT_EQ(profile.unserved, setting);
    EXPECT_EQ(profile.unserved_where, "FILE:3");
  }
  EXPECT_EQ(found(in_config("[profile ci]\nsource_profile =\n")).unserved, "");
  EXPECT_EQ(found(in_config("[profile ci]\n[profile b]\nsource_profile = x\n")).unserved, "");
}

TEST(AwsProfile, RefusesWhatBreaksTheFormatAndNeverQuotesIt) {
  const std::pair<std::string, std::string> cases[] = {
      {"SECRET = x\n", "FILE:1: text before"},
      {"[ci]\nSECRET\n", "FILE:2: neither"},
      {"[ci]\n= SECRET\n", "FILE:2: a value without"},
      {"[ci]\n\n[SECRET\n", "FILE:3: the section's name has no ']'"},
      {"[ci] SECRET\n", "FILE:1: text behind"},
      {"[ ]\nSECRET=1\n", "FILE:1: a section without"},
      {std::string("[ci]\nregion = SE\0CRET\n", 21), "FILE:2: the line holds a NUL"},
      {"[other]\nSECRET\n[ci]\n", "FILE:2: neither"},
      {"[ci]\nregion=x\n[profile \"SECRET\n", "FILE:3:"},
  };
  for (const auto& [text, message] : cases) {
    const auto parsed = in_credentials(text);
    ASSERT_TRUE(fails_with(Code::invalid, parsed)) << text;
    EXPECT_THAT(parsed.error().text(), HasSubstr(message));
    EXPECT_THAT(parsed.error().text(), Not(HasSubstr("SECRET")));
  }
}

TEST(AwsProfile, BoundsLinesAndFiles) {
  const std::string head = "[ci]\naws_session_token=";
  const std::string longest(kProfileLineBytes - 18, 'x');
  const Profile profile = found(in_credentials(head + longest + "\r\n"));
  EXPECT_EQ(profile.session_token.reveal(), longest);
  const auto longer = in_credentials(head + longest + "x\n");
  ASSERT_TRUE(fails_with(Code::invalid, longer));
  EXPECT_THAT(longer.error().text(), HasSubstr("FILE:2: the line is too long"));

  std::string whole(kProfileFileBytes, '\n');
  EXPECT_TRUE(is_ok(in_credentials(whole)));
  EXPECT_TRUE(fails_with(Code::invalid, in_credentials(whole + "\n")));
}

TEST(AwsProfile, SurvivesAnything) {
  const std::string text =
      "\xef\xbb\xbf[profile ci] # x\r\n aws_access_key_id = A ; y\r\n  s3 =\n\tz\n"
      "[default]\n\"=\" = ' '\n[profile 'q']\nsource_profile=\n[sso-session a]\nb = c";
  for (size_t size = 0; size <= text.size(); ++size) {
    (void)in_config(text.substr(0, size)).ok();
    (void)in_credentials(text.substr(size)).ok();
  }
  for (size_t at = 0; at < text.size(); ++at) {
    for (const char c : {'\0', '\n', '\r', '[', ']', '=', '#', ' ', '"', '\xff'}) {
      std::string changed = text;
      changed[at] = c;
      (void)in_config(changed).ok();
      (void)in_credentials(changed, "q").ok();
    }
  }
  for (const char* piece : {"[", "[]", "[a]\n", "=", "a=\n b\n", "\n ", "]"}) {
    std::string many;
    while (many.size() + 8 < kProfileFileBytes) many += piece;
    (void)in_config(many, "a").ok();
    (void)in_credentials(many, "a").ok();
  }
}

TEST(AwsProfile, MergesWithKeysAsASet) {
  Profile over;
  over.access_key_id = "A";
  over.keys_where = "one";
  over.region = "x";
  Profile under;
  under.access_key_id = "B";
  under.secret_access_key = Secret("S");
  under.session_token = Secret("T");
  under.region = "y";
  under.role_arn = "r";
  under.role_where = "two";
  under.unserved = "sso_session";
  under.unserved_where = "three";
  Profile both = merged(over, under);
  EXPECT_EQ(both.access_key_id, "A");
  EXPECT_TRUE(both.secret_access_key.empty()) << "half a pair is not made whole from elsewhere";
  EXPECT_TRUE(both.session_token.empty());
  EXPECT_EQ(both.region, "x");
  EXPECT_EQ(both.role_arn, "r");
  EXPECT_EQ(both.role_where, "two");
  EXPECT_EQ(both.unserved, "sso_session");
  EXPECT_EQ(both.unserved_where, "three");

  both = merged(Profile(), under);
  EXPECT_EQ(both.access_key_id, "B");
  EXPECT_EQ(both.secret_access_key.reveal(), "S");
  EXPECT_EQ(both.session_token.reveal(), "T");
}

}  // namespace
}  // namespace thaw::s3
