#include "object/tier_usage.h"

#include <gtest/gtest.h>

#include "object/memory.h"
#include "support/faulty_store.h"
#include "support/result_check.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;
using test::Verb;

class Usage : public ::testing::Test {
 protected:
  void put(const std::string& name, size_t size_bytes) {
    ASSERT_TRUE(is_ok(fast_->put(context_, *ObjectKey::parse(name),
                                 Buffer(std::string(size_bytes, 'x')), PutMode::overwrite)));
  }
  static bool takes(const Result<bool>& taken) { return taken && *taken; }

  test::Faults faults_;
  const std::unique_ptr<ObjectStore> fast_ = test::faulty(make_memory_store(), faults_);
  const Context context_;
};

TEST_F(Usage, CountsWhatIsThereOnceAndThenWhatComes) {
  for (int i = 0; i < 1005; ++i) put("blocks/s/" + std::to_string(i), 10);
  put("thaw-tier.json", 5000);
  TierUsage usage(*fast_, 10'100);
  EXPECT_TRUE(takes(usage.take(context_, 40)));
  EXPECT_EQ(faults_.calls(Verb::list), 2U);
  EXPECT_FALSE(takes(usage.take(context_, 11)));
  EXPECT_TRUE(takes(usage.take(context_, 10)));
  EXPECT_FALSE(takes(usage.take(context_, 1)));
  usage.give_back(10);
  EXPECT_TRUE(takes(usage.take(context_, 1)));
  EXPECT_FALSE(takes(usage.take(context_, UINT64_MAX)));
  EXPECT_EQ(faults_.calls(Verb::list), 2U);
}

TEST_F(Usage, WithoutABoundNothingIsCounted) {
  TierUsage usage(*fast_, 0);
  EXPECT_TRUE(takes(usage.take(context_, UINT64_MAX)));
  EXPECT_TRUE(takes(usage.take(context_, UINT64_MAX)));
  usage.give_back(5);
  EXPECT_EQ(faults_.calls(Verb::list), 0U);
}

TEST_F(Usage, ACountThatFailsIsTriedAgain) {
  put("blocks/x", 10);
  faults_.fail(Verb::list, 1, test::When::before, Error(Code::unavailable, "scripted"));
  TierUsage usage(*fast_, 15);
  EXPECT_TRUE(fails_with(Code::unavailable, usage.take(context_, 1)));
  EXPECT_FALSE(takes(usage.take(context_, 6)));
  EXPECT_TRUE(takes(usage.take(context_, 5)));
}

}  // namespace
}  // namespace thaw
