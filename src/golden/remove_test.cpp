#include "golden/remove.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "support/test_seed.h"

namespace thaw::golden {
namespace {

constexpr int64_t kDayNs = int64_t{86'400} * 1'000'000'000;
constexpr int64_t kNow = 1000 * kDayNs;

GenerationState generation(uint64_t number, int64_t idle_days, uint64_t bytes = 100) {
  GenerationState state;
  state.number = number;
  state.last_use_ns = kNow - idle_days * kDayNs;
  state.description.totals.bytes = bytes;
  return state;
}

std::vector<uint64_t> numbers(const std::vector<Doomed>& doomed) {
  std::vector<uint64_t> all;
  for (const Doomed& each : doomed) all.push_back(each.number);
  return all;
}

using Numbers = std::vector<uint64_t>;

TEST(GoldenCollection, KeepsTheNewest) {
  std::vector<GenerationState> all = {generation(5, 0), generation(4, 0), generation(3, 0),
                                      generation(2, 0)};
  all[0].is_current = true;
  EXPECT_EQ(numbers(plan_collection(all, {.keep_last = 2}, kNow)), (Numbers{3, 2}));
  EXPECT_EQ(numbers(plan_collection(all, {.keep_last = 9}, kNow)), Numbers{});
  EXPECT_EQ(numbers(plan_collection(all, {.keep_last = 0}, kNow)), (Numbers{4, 3, 2}));
}

TEST(GoldenCollection, GoesByLastUse) {
  const std::vector<GenerationState> all = {generation(3, 8), generation(2, 6), generation(1, 8)};
  const CollectOptions options{.keep_last = 3, .unused = std::chrono::hours(7 * 24)};
  EXPECT_EQ(numbers(plan_collection(all, options, kNow)), (Numbers{3, 1}));
}

TEST(GoldenCollection, MakesRoomByTheOldestUse) {
  std::vector<GenerationState> all = {generation(4, 1), generation(3, 5), generation(2, 9),
                                      generation(1, 7)};
  all[2].live_clones = 1;
  EXPECT_EQ(numbers(plan_collection(all, {.keep_last = 4, .free_bytes = 150}, kNow)),
            (Numbers{1, 3}));
  // What goes anyway counts.
  EXPECT_EQ(numbers(plan_collection(all, {.keep_last = 3, .free_bytes = 100}, kNow)), Numbers{1});
}

// Whatever is asked for, the current one and those with live clones stay, and nothing goes twice.
TEST(GoldenCollection, NeverTakesWhatIsNeeded) {
  std::mt19937_64 random(test::test_seed());
  for (int round = 0; round < 2000; ++round) {
    std::vector<GenerationState> all;
    const uint64_t count = random() % 8;
    for (uint64_t number = 1; number <= count; ++number) {
      all.push_back(generation(number, static_cast<int64_t>(random() % 20), random() % 1000));
      all.back().live_clones = random() % 4 == 0 ? 1 : 0;
    }
    if (!all.empty()) all[random() % all.size()].is_current = true;
    std::shuffle(all.begin(), all.end(), random);
    CollectOptions options{.keep_last = random() % 5, .free_bytes = random() % 3000};
    if (random() % 2 == 0) options.unused = std::chrono::hours(24 * (random() % 20));
    Numbers gone = numbers(plan_collection(all, options, kNow));
    for (const GenerationState& each : all) {
      if (!each.is_current && each.live_clones == 0) continue;
      EXPECT_EQ(std::count(gone.begin(), gone.end(), each.number), 0);
    }
    std::sort(gone.begin(), gone.end());
    EXPECT_EQ(std::adjacent_find(gone.begin(), gone.end()), gone.end());
  }
}

}  // namespace
}  // namespace thaw::golden
