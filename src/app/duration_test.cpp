#include "app/duration.h"

#include <gtest/gtest.h>

#include "support/result_check.h"

namespace thaw::test {
namespace {

TEST(DurationTest, NumbersWithUnits) {
  const std::pair<const char*, int64_t> cases[] = {
      {"500ms", 500},       {"30s", 30'000},     {"5m", 300'000},
      {"2h", 7'200'000},    {"1.5s", 1500},      {"0.25m", 15'000},
      {"1h30m", 5'400'000}, {"1m500ms", 60'500}, {"0h1s", 1000},
  };
  for (const auto& [text, ms] : cases) {
    const auto duration = parse_duration(text);
    ASSERT_TRUE(is_ok(duration)) << text;
    EXPECT_EQ(duration->count(), ms) << text;
  }
}

TEST(DurationTest, RefusesWhatIsAmbiguousOrNone) {
  for (const char* text : {"", "30", "0", "0s", "0.1ms", "s", "-5s", "+5s", " 5s", "5 s", "5s ",
                           "1e3s", "nans", "infs", "0x1s", "5sm", "1,5s", "99999999h", "1e400s"}) {
    EXPECT_TRUE(fails_with(Code::invalid, parse_duration(text))) << text;
  }
}

}  // namespace
}  // namespace thaw::test
