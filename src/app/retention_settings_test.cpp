#include "app/retention_settings.h"

#include <gtest/gtest.h>

#include "support/result_check.h"

namespace thaw::test {
namespace {

Result<std::vector<gc::RetentionRule>> rules_of(const char* toml) {
  THAW_ASSIGN(const auto settings, settings_of_toml(toml, "t.toml"));
  RetentionSettings rules;
  for (const Setting& each : settings) THAW_CHECK(rules.apply(each));
  return rules.finish();
}

TEST(RetentionSettingsTest, WhatARuleMaySay) {
  const auto rules = rules_of(R"(
[[retention]]
prefix = "site/"
keep_last = 5
keep_within = "30d"
keep_label = "pin, release=v*"
ttl = "14d"

[[retention]]
prefix = ""
keep_last = 1)");
  ASSERT_TRUE(is_ok(rules));
  ASSERT_EQ(rules->size(), 2U);
  const gc::RetentionRule& rule = rules->front();
  EXPECT_EQ(rule.prefix, "site");
  EXPECT_EQ(rule.keep_last, 5U);
  EXPECT_EQ(rule.keep_within, std::chrono::hours(30 * 24));
  ASSERT_EQ(rule.keep_label.size(), 2U);
  EXPECT_EQ(rule.keep_label[0].name, "pin");
  EXPECT_EQ(rule.keep_label[0].value, "*");
  EXPECT_EQ(rule.keep_label[1].name, "release");
  EXPECT_EQ(rule.keep_label[1].value, "v*");
  EXPECT_EQ(rule.ttl, std::chrono::hours(14 * 24));
  EXPECT_EQ((*rules)[1].prefix, "");
}

TEST(RetentionSettingsTest, RefusesWhatIsNoRuleAndSaysWhere) {
  for (const char* toml : {
           "[[retention]]\nkeep_last = 5",
           "[[retention]]\nprefix = \"a\"",
           "[[retention]]\nprefix = \"a//b\"\nkeep_last = 5",
           "[[retention]]\nprefix = \"a@1\"\nkeep_last = 5",
           "[[retention]]\nprefix = \"a\"\nkeep_last = 0",
           "[[retention]]\nprefix = \"a\"\nkeep_last = -1",
           "[[retention]]\nprefix = \"a\"\nkeep_last = \"5\"",
           "[[retention]]\nprefix = \"a\"\nkeep_within = 30",
           "[[retention]]\nprefix = \"a\"\nkeep_within = \"30\"",
           "[[retention]]\nprefix = \"a\"\nttl = \"soon\"",
           "[[retention]]\nprefix = \"a\"\nkeep_label = \"\"",
           "[[retention]]\nprefix = \"a\"\nkeep_label = \"=x\"",
           "[[retention]]\nprefix = \"a\"\nkeep_first = 1",
           "[[retention]]\nprefix = \"a\"\nttl = \"1d\"\n[[retention]]\nprefix = \"a/\"\nttl = "
           "\"2d\"",
           "[retention]\nprefix = \"a\"\nttl = \"1d\"",
       }) {
    const auto rules = rules_of(toml);
    ASSERT_TRUE(fails_with(Code::invalid, rules)) << toml;
    EXPECT_TRUE(rules.error().text().starts_with("t.toml:")) << rules.error().text();
  }
}

}  // namespace
}  // namespace thaw::test
