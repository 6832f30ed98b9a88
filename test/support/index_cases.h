// The recency indexes that the conformance suite runs over.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "object/recency_index.h"
#include "object/tier_meter.h"
#include "support/temp_dir.h"

namespace thaw::test {

// A place of its own for an index.
struct IndexPlace {
  std::unique_ptr<TempDir> dir;
  std::unique_ptr<TierMeter> meter = std::make_unique<TierMeter>();
  // Another handle on what lies there, as another process would have.
  std::function<std::unique_ptr<RecencyIndex>()> open;
};

struct IndexCase {
  std::string name;
  std::function<IndexPlace()> make;
  bool is_shared = true;  // what one handle writes another sees
};

std::vector<IndexCase> index_cases();
std::string name_of_index_case(const ::testing::TestParamInfo<IndexCase>& tested);

// "blocks/<store>/<object>/@/once-64/<number>"
ObjectKey block_of(const std::string& object, uint64_t number,
                   const std::string& store = "0123456789abcdef");
// The name of an object or a group in the tier.
std::string in_tier(const std::string& object, const std::string& store = "0123456789abcdef");

// All that an index knows, from the coldest on, in pages of `limit`; a failure where pages
// contradict one another.
std::vector<IndexedBlock> walk(RecencyIndex& index, size_t limit = 1000);
// Fails unless every sum is that of the blocks.
void expect_true_sums(RecencyIndex& index);

}  // namespace thaw::test
