#include "archive/metadata_budget.h"

#include <gtest/gtest.h>

#include "support/result_check.h"

namespace thaw::archive {
namespace {

using test::fails_with;

constexpr uint64_t kFree = 512 * 1024;

TEST(MetadataBudget, EntriesAreFreeAtFirst) {
  MetadataBudget budget;
  for (uint64_t i = 0; i < kFree; ++i) ASSERT_TRUE(budget.take_entry());
  EXPECT_TRUE(fails_with(Code::exhausted, budget.take_entry()));
}

TEST(MetadataBudget, ThenTheyHaveToHaveBeenSent) {
  uint64_t sent = 80;
  MetadataBudget budget([&] { return sent; });
  for (uint64_t i = 0; i < kFree + 10; ++i) ASSERT_TRUE(budget.take_entry());
  EXPECT_TRUE(fails_with(Code::exhausted, budget.take_entry()));
  sent += 16;  // the refused one counts, too
  EXPECT_TRUE(budget.take_entry().ok());
  EXPECT_TRUE(fails_with(Code::exhausted, budget.take_entry()));
}

TEST(MetadataBudget, TextHasACapWhateverWasSent) {
  MetadataBudget budget([] { return UINT64_MAX; });
  EXPECT_TRUE(budget.take_text(size_t{96} * 1024 * 1024).ok());
  EXPECT_TRUE(fails_with(Code::exhausted, budget.take_text(1)));
}

}  // namespace
}  // namespace thaw::archive
