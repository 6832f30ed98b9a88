#include "snapshot/policy.h"

#include <gtest/gtest.h>

namespace thaw {
namespace {

TreeTotals tree_of(uint64_t files, uint64_t bytes) {
  TreeTotals totals;
  totals.files = files;
  totals.dirs = 1;
  totals.bytes = bytes;
  return totals;
}

TEST(Policy, RefusesAnEmptyTreeUnlessAllowed) {
  Policy policy;
  EXPECT_EQ(policy.judge(tree_of(0, 0), std::nullopt, 0), Refused::empty);
  EXPECT_EQ(policy.judge(tree_of(0, 0), tree_of(3, 10), 100), Refused::empty);
  policy.allow_empty = true;
  EXPECT_EQ(policy.judge(tree_of(0, 0), std::nullopt, 0), std::nullopt);
}

TEST(Policy, AnEmptyFileOrALinkIsNotNothing) {
  const Policy policy;
  EXPECT_EQ(policy.judge(tree_of(1, 0), std::nullopt, 0), std::nullopt);
  TreeTotals link = tree_of(0, 0);
  link.others = 1;
  EXPECT_EQ(policy.judge(link, std::nullopt, 0), std::nullopt);
}

TEST(Policy, RefusesATreeBelowTheShareAndNotAtIt) {
  const Policy policy;
  EXPECT_EQ(policy.judge(tree_of(1, 499), tree_of(1, 1000), 0), Refused::shrunken);
  EXPECT_EQ(policy.judge(tree_of(1, 500), tree_of(1, 1000), 0), std::nullopt);
  EXPECT_EQ(policy.judge(tree_of(1, 1), std::nullopt, 0), std::nullopt);
}

TEST(Policy, AcceptsAShrunkenTreeAfterEnoughRefusals) {
  Policy policy;
  policy.accept_after_refusals = 3;
  EXPECT_EQ(policy.judge(tree_of(1, 1), tree_of(1, 1000), 2), Refused::shrunken);
  EXPECT_EQ(policy.judge(tree_of(1, 1), tree_of(1, 1000), 3), std::nullopt);
  policy.accept_after_refusals = 0;
  EXPECT_EQ(policy.judge(tree_of(1, 1), tree_of(1, 1000), 1000000), Refused::shrunken);
  policy.allow_shrink = true;
  EXPECT_EQ(policy.judge(tree_of(1, 1), tree_of(1, 1000), 0), std::nullopt);
}

}  // namespace
}  // namespace thaw
