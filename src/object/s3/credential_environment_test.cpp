#include <gmock/gmock.h>

#include "object/s3/credential_sources.h"
#include "support/result_check.h"
#include "support/scripted_environment.h"

namespace thaw::s3 {
namespace {

using test::fails_with;
using test::is_ok;
using ::testing::HasSubstr;
using ::testing::Not;

Result<std::optional<Credentials>> load(test::Variables variables) {
  return environment_source(test::environment_of(std::move(variables)))->load(Context());
}

TEST(EnvironmentCredentials, ReadsThePairAndTheToken) {
  const auto whole = load({{"AWS_ACCESS_KEY_ID", "AKID"},
                           {"AWS_SECRET_ACCESS_KEY", "SEC/RET"},
                           {"AWS_SESSION_TOKEN", "TOKEN"}});
  ASSERT_TRUE(is_ok(whole));
  ASSERT_TRUE(whole->has_value());
  EXPECT_EQ((*whole)->access_key_id, "AKID");
  EXPECT_EQ((*whole)->secret_access_key.reveal(), "SEC/RET");
  EXPECT_EQ((*whole)->session_token.reveal(), "TOKEN");
  EXPECT_EQ((*whole)->expires, std::nullopt);

  const auto pair = load({{"AWS_ACCESS_KEY_ID", "AKID"}, {"AWS_SECRET_ACCESS_KEY", "SECRET"}});
  ASSERT_TRUE(is_ok(pair));
  EXPECT_TRUE((*pair)->session_token.empty());
}

TEST(EnvironmentCredentials, AnswersNothingWhereThereIsNone) {
  EXPECT_FALSE(load({})->has_value());
  EXPECT_FALSE(load({{"AWS_SESSION_TOKEN", "TOKEN"}})->has_value());
  EXPECT_FALSE(load({{"AWS_ACCESS_KEY_ID", ""}, {"AWS_SECRET_ACCESS_KEY", ""}})->has_value());
}

TEST(EnvironmentCredentials, HalfAPairIsAnError) {
  const auto no_secret = load({{"AWS_ACCESS_KEY_ID", "AKID"}});
  ASSERT_TRUE(fails_with(Code::invalid, no_secret));
  EXPECT_THAT(no_secret.error().text(),
              HasSubstr("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"));
  const auto no_id = load({{"AWS_SECRET_ACCESS_KEY", "SECRET"}, {"AWS_ACCESS_KEY_ID", ""}});
  ASSERT_TRUE(fails_with(Code::invalid, no_id));
  EXPECT_THAT(no_id.error().text(),
              HasSubstr("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not"));
  EXPECT_THAT(no_id.error().text(), Not(HasSubstr("SECRET ")));
}

TEST(EnvironmentCredentials, RefusesWhatCannotBeSentAndNeverQuotesIt) {
  for (const char* name : {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}) {
    test::Variables variables = {{"AWS_ACCESS_KEY_ID", "QUOTED1"},
                                 {"AWS_SECRET_ACCESS_KEY", "QUOTED2"},
                                 {"AWS_SESSION_TOKEN", "QUOTED3"}};
    ASSERT_TRUE(is_ok(load(variables)));
    variables[name] += "\n";
    const auto loaded = load(variables);
    ASSERT_TRUE(fails_with(Code::invalid, loaded)) << name;
    EXPECT_THAT(loaded.error().text(), HasSubstr(name));
    EXPECT_THAT(loaded.error().text(), Not(HasSubstr("QUOTED")));
  }
}

}  // namespace
}  // namespace thaw::s3
