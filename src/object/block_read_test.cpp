// Reads through a tier that keeps nothing. The rest is in block_cache_test.cpp.
#include <gtest/gtest.h>

#include <vector>

#include "object/block_cache.h"
#include "support/result_check.h"
#include "support/tier_stack.h"

namespace thaw {
namespace {

using test::is_ok;
using test::TierStack;
using test::Verb;

TEST(BlockRead, NothingIsWrittenWhereFillingIsOff) {
  BlockCacheOptions options = test::small_blocks();
  options.fill = TierFill::off;
  TierStack stack(options);
  const std::string text = stack.add("packs/a", 1000);
  EXPECT_EQ(stack.text("packs/a"), text);
  stack.settle();
  EXPECT_EQ(stack.fast_faults.calls(Verb::put), 0U);
  EXPECT_EQ(stack.meter.fills_dropped, 0U);
}

// Nor is more fetched than is wanted: nobody would have it another time.
TEST(BlockRead, WhatIsNotKeptIsFetchedAsItIsAskedFor) {
  BlockCacheOptions options = test::small_blocks();
  options.fill = TierFill::off;
  TierStack stack(options);
  const std::string text = stack.add("packs/a", 1000);
  std::vector<uint64_t> fetched;
  stack.slow_faults.change_get(1, [&](Buffer bytes) {
    fetched.push_back(bytes.size());
    return bytes;
  });
  const auto got = stack.cache->get(stack.context, TierStack::key("packs/a"), ByteRange::of(10, 7),
                                    Freshness::any);
  ASSERT_TRUE(is_ok(got));
  EXPECT_TRUE(as_text(got->bytes.view()) == text.substr(10, 7));
  EXPECT_EQ(fetched, std::vector<uint64_t>{7});
}

}  // namespace
}  // namespace thaw
