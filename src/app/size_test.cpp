#include "app/size.h"

#include <gtest/gtest.h>

#include "support/result_check.h"

namespace thaw::test {
namespace {

TEST(SizeTest, NumbersWithUnits) {
  const std::pair<const char*, uint64_t> cases[] = {
      {"100B", 100},
      {"1kB", 1000},
      {"50GB", 50'000'000'000},
      {"4MiB", 4 << 20},
      {"4mib", 4 << 20},
      {"1.5KiB", 1536},
      {"2TiB", uint64_t{2} << 40},
      {"4194304TiB", uint64_t{1} << 62},
  };
  for (const auto& [text, bytes] : cases) {
    const auto size = parse_size(text);
    ASSERT_TRUE(is_ok(size)) << text;
    EXPECT_EQ(*size, bytes) << text;
  }
}

TEST(SizeTest, RefusesWhatIsAmbiguousOrNone) {
  for (const char* text : {"", "4", "4M", "4m", "0B", "0.1B", "MiB", "-4MiB", "+4MiB", " 4MiB",
                           "4 MiB", "4MiB ", "4MiBB", "1e3B", "nanB", "infB", "5000000TiB"}) {
    EXPECT_TRUE(fails_with(Code::invalid, parse_size(text))) << text;
  }
}

}  // namespace
}  // namespace thaw::test
