#include "cache/companions.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>

#include "cache/definition.h"
#include "support/result_check.h"

namespace thaw::cache {
namespace {

Companions some(size_t count) {
  Companions companions{sha256(as_bytes("address")).hex(), {}};
  for (size_t i = 0; i < count; ++i) {
    companions.targets.push_back(
        {std::numeric_limits<uint64_t>::max() - i, sha256(as_bytes(std::to_string(i)))});
  }
  return companions;
}

Labels labels_of(const Companions& companions) {
  Labels labels = {{"cache", "node"}, {"cache.key", "v1"}, {"cache.target", "directory"}};
  add_companions(companions, labels);
  return labels;
}

TEST(CompanionsTest, AreWhatWasNamed) {
  for (const size_t count : {size_t{1}, size_t{7}, size_t{8}, size_t{9}, kMostTargets - 1}) {
    const Labels labels = labels_of(some(count));
    EXPECT_TRUE(test::is_ok(check_labels(labels))) << count;
    const auto read = companions_of(labels, count);
    ASSERT_TRUE(read) << count;
    EXPECT_EQ(*read, some(count));
    EXPECT_FALSE(companions_of(labels, count + 1)) << count;
    if (count > 1) {
      EXPECT_FALSE(companions_of(labels, count - 1)) << count;
    }
  }
}

TEST(CompanionsTest, OneTargetHasNoneAndNoLabels) {
  EXPECT_EQ(labels_of(some(0)).size(), 3U);
  ASSERT_TRUE(companions_of({}, 0));
  EXPECT_TRUE(companions_of({}, 0)->targets.empty());
  EXPECT_FALSE(companions_of(labels_of(some(0)), 1));
}

TEST(CompanionsTest, AnythingElseNamesNone) {
  const std::string digest = sha256(as_bytes("0")).hex();
  const auto named = [&](const Labels& changes) {
    Labels labels = labels_of({some(1).address, {{7, sha256(as_bytes("0"))}}});
    for (const auto& [name, value] : changes) labels[name] = value;
    return companions_of(labels, 1).has_value();
  };
  EXPECT_TRUE(named({}));
  EXPECT_TRUE(named({{"cache.companions.0", "7:" + digest}}));
  for (const std::string& value :
       {std::string(), std::string(":"), "7" + digest, ":" + digest, "0:" + digest, "07:" + digest,
        "+7:" + digest, "-7:" + digest, " 7:" + digest, "7:" + digest + " ", "7: " + digest,
        "7:" + digest.substr(1), "7:" + digest + "0", "18446744073709551616:" + digest,
        fmt::format("7:{0} 8:{0}", digest), "7:" + std::string(64, 'A'), std::string(1024, '9')}) {
    EXPECT_FALSE(named({{"cache.companions.0", value}})) << value;
  }
  EXPECT_FALSE(named({{"cache.companions", "../../other"}}));
  EXPECT_FALSE(named({{"cache.companions", ""}}));
  EXPECT_FALSE(named({{"cache.companions.1", "8:" + digest}}));
}

}  // namespace
}  // namespace thaw::cache
