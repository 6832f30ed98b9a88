#include "gc/retention.h"

#include <gtest/gtest.h>

namespace thaw::gc {
namespace {

constexpr int64_t kDayNs = 86'400LL * 1'000'000'000;
constexpr Timestamp kNow{1'000 * kDayNs};

Timestamp days_ago(int64_t days) { return Timestamp{kNow.ns - days * kDayNs}; }

// Generations 1 to n, the newest of today, each a day older than the next.
std::vector<Candidate> daily(uint64_t count) {
  std::vector<Candidate> live;
  for (uint64_t i = 0; i < count; ++i)
    live.push_back({count - i, days_ago(static_cast<int64_t>(i)), nullptr});
  return live;
}

std::vector<uint64_t> gone(const RetentionRule& rule, const std::vector<Candidate>& live,
                           std::optional<Timestamp> last_use = std::nullopt) {
  std::vector<uint64_t> numbers;
  for (const Expired& each : expired(rule, live, last_use, kNow))
    numbers.push_back(each.generation);
  return numbers;
}

using Numbers = std::vector<uint64_t>;

TEST(RetentionTest, KeepsTheNewest) {
  EXPECT_EQ(gone({.keep_last = 2}, daily(5)), (Numbers{3, 2, 1}));
  EXPECT_EQ(gone({.keep_last = 9}, daily(5)), Numbers{});
  EXPECT_EQ(gone({.keep_last = 2}, {}), Numbers{});
}

TEST(RetentionTest, KeepsWhatIsYoungAndAlwaysTheNewest) {
  EXPECT_EQ(gone({.keep_within = std::chrono::hours(50)}, daily(5)), (Numbers{2, 1}));
  const std::vector<Candidate> old = {{2, days_ago(90), nullptr}, {1, days_ago(91), nullptr}};
  EXPECT_EQ(gone({.keep_within = std::chrono::hours(24)}, old), (Numbers{1}));
}

TEST(RetentionTest, AnyReasonKeeps) {
  const RetentionRule rule{.keep_last = 1, .keep_within = std::chrono::hours(50)};
  EXPECT_EQ(gone(rule, daily(5)), (Numbers{2, 1}));
}

TEST(RetentionTest, KeepsLabels) {
  const Labels pinned = {{"pin", ""}};
  const Labels release = {{"release", "v12"}};
  std::vector<Candidate> live = daily(5);
  live[2].labels = &pinned;
  live[4].labels = &release;
  EXPECT_EQ(gone({.keep_label = {{"pin", "*"}}}, live), (Numbers{4, 2, 1}));
  EXPECT_EQ(gone({.keep_label = {{"release", "v1?"}}}, live), (Numbers{4, 3, 2}));
  EXPECT_EQ(gone({.keep_label = {{"release", "v1"}}}, live), (Numbers{4, 3, 2, 1}));
  EXPECT_EQ(gone({.keep_label = {{"release", "*2"}}}, live), (Numbers{4, 3, 2}));
  EXPECT_EQ(gone({.keep_label = {{"release", "v*1*2*"}}}, live), (Numbers{4, 3, 2}));
}

TEST(RetentionTest, AnUnusedKeyGoesWhole) {
  const RetentionRule rule{.ttl = std::chrono::hours(14 * 24)};
  std::vector<Candidate> live = {{2, days_ago(20), nullptr}, {1, days_ago(21), nullptr}};
  EXPECT_EQ(gone(rule, live), (Numbers{2, 1}));
  EXPECT_EQ(gone(rule, live, days_ago(2)), Numbers{}) << "it was used";
  EXPECT_EQ(gone(rule, live, days_ago(15)), (Numbers{2, 1}));
  EXPECT_EQ(gone(rule, daily(3)), Numbers{}) << "saving is a use";
  const Labels pinned = {{"pin", ""}};
  live[1].labels = &pinned;
  RetentionRule pins = rule;
  pins.keep_label = {{"pin", "*"}};
  EXPECT_EQ(gone(pins, live), (Numbers{2}));
}

TEST(RetentionTest, ClocksMayBeAnything) {
  const RetentionRule rule{.keep_within = std::chrono::seconds(1), .ttl = std::chrono::seconds(1)};
  const std::vector<Candidate> live = {{2, Timestamp{INT64_MAX}, nullptr},
                                       {1, Timestamp{INT64_MIN}, nullptr}};
  EXPECT_EQ(gone(rule, live), (Numbers{1}));
  EXPECT_EQ(gone(rule, {{1, Timestamp{INT64_MIN}, nullptr}}), (Numbers{1}));
}

TEST(RetentionTest, TheLongestPrefixCounts) {
  const std::vector<RetentionRule> rules = {{.prefix = "", .keep_last = 1},
                                            {.prefix = "site", .keep_last = 2},
                                            {.prefix = "site/shop", .keep_last = 3}};
  const auto last_of = [&](const char* key) {
    return rule_for(rules, *Key::parse(key))->keep_last;
  };
  EXPECT_EQ(last_of("other"), 1U);
  EXPECT_EQ(last_of("site"), 2U);
  EXPECT_EQ(last_of("site/shopping"), 2U);
  EXPECT_EQ(last_of("site/shop/deno"), 3U);
  EXPECT_EQ(rule_for({rules[1]}, *Key::parse("other")), nullptr);
}

}  // namespace
}  // namespace thaw::gc
