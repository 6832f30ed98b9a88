#include "snapshot/image_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "support/random_bytes.h"

namespace thaw {
namespace {

using test::TestRandom;

constexpr uint64_t kWindow = 6 * kWindowBytes;  // where the window of these tests lies

std::vector<uint8_t> zeros(size_t size_bytes) { return std::vector<uint8_t>(size_bytes, 0); }

void fill_page(std::vector<uint8_t>& bytes, size_t page, uint8_t value) {
  const size_t at = page * kPageBytes;
  std::fill(bytes.begin() + static_cast<ptrdiff_t>(at),
            bytes.begin() + static_cast<ptrdiff_t>(std::min(at + kPageBytes, bytes.size())), value);
}

Extent extent(uint64_t begin, uint32_t chunk, uint32_t chunk_offset, uint32_t length) {
  return {kWindow + begin, chunk, chunk_offset, length};
}

bool operator==(const Extent& a, const Extent& b) {
  return a.file_offset == b.file_offset && a.chunk == b.chunk && a.chunk_offset == b.chunk_offset &&
         a.length == b.length;
}

TEST(DataRuns, LeaveOutZerosAtTheEndsAndLongRunsBetween) {
  auto bytes = zeros(kWindowBytes);
  EXPECT_TRUE(data_runs(bytes).empty());
  EXPECT_TRUE(data_runs({}).empty());
  bytes[5 * kPageBytes + 17] = 1;
  EXPECT_EQ(data_runs(bytes), (std::vector<WindowRun>{{5 * kPageBytes, 6 * kPageBytes}}));
  // 15 pages of zeros are laid down with their neighbours, 16 are not.
  fill_page(bytes, 21, 9);
  EXPECT_EQ(data_runs(bytes), (std::vector<WindowRun>{{5 * kPageBytes, 22 * kPageBytes}}));
  fill_page(bytes, 38, 9);
  EXPECT_EQ(data_runs(bytes), (std::vector<WindowRun>{{5 * kPageBytes, 22 * kPageBytes},
                                                      {38 * kPageBytes, 39 * kPageBytes}}));
  // A last page that is short.
  const Bytes cut = Bytes(bytes).first(38 * kPageBytes + 100);
  EXPECT_EQ(data_runs(cut).back(), (WindowRun{38 * kPageBytes, 38 * kPageBytes + 100}));
}

TEST(ClippedExtents, AreWhatLiesWithin) {
  const std::vector<Extent> extents = {{0, 1, 10, 100}, {100, 2, 0, 50}, {200, 3, 5, 100}};
  EXPECT_TRUE(clipped_extents(extents, 150, 50).empty());
  EXPECT_TRUE(clipped_extents(extents, 300, 1000).empty());
  EXPECT_TRUE(clipped_extents({}, 0, 1000).empty());
  const auto some = clipped_extents(extents, 90, 120);
  ASSERT_EQ(some.size(), 3U);
  EXPECT_TRUE(some[0] == (Extent{90, 1, 100, 10}));
  EXPECT_TRUE(some[1] == (Extent{100, 2, 0, 50}));
  EXPECT_TRUE(some[2] == (Extent{200, 3, 5, 10}));
}

TEST(IsOneChunk, OnlyWhenTheRunsFillIt) {
  const std::vector<WindowRun> runs = {{0, 4096}, {81920, 90112}};
  const std::vector<Extent> extents = {extent(0, 7, 0, 4096), extent(81920, 7, 4096, 8192)};
  EXPECT_TRUE(is_one_chunk_of(extents, kWindow, runs, 12288));
  EXPECT_FALSE(is_one_chunk_of(extents, kWindow, runs, 12289)) << "a part of the chunk";
  EXPECT_FALSE(is_one_chunk_of(extents, kWindow + 4096, runs, 12288));
  EXPECT_FALSE(is_one_chunk_of(std::span(extents).first(1), kWindow, runs, 12288));
  for (auto change : {+[](Extent& each) { each.chunk = 8; }, +[](Extent& each) { ++each.length; },
                      +[](Extent& each) { ++each.chunk_offset; }}) {
    auto other = extents;
    change(other[1]);
    EXPECT_FALSE(is_one_chunk_of(other, kWindow, runs, 12288));
  }
}

TEST(PlanWindow, KeepsAllOfAnEqualWindow) {
  const auto content = test::random_bytes(kWindowBytes, 1);
  const WindowPlan plan = plan_window(
      content, kWindow, {content, {extent(0, 3, 0, static_cast<uint32_t>(kWindowBytes))}, {}});
  ASSERT_EQ(plan.kept.size(), 1U);
  EXPECT_TRUE(plan.kept[0] == extent(0, 3, 0, static_cast<uint32_t>(kWindowBytes)));
  EXPECT_TRUE(plan.fresh.empty());
}

TEST(PlanWindow, LaysDownPagesThatDifferAndLeavesOutZeros) {
  const auto base = test::random_bytes(kWindowBytes, 1);
  auto child = base;
  child[3 * kPageBytes + 9] ^= 1;
  child[4 * kPageBytes] ^= 1;
  fill_page(child, 100, 0);
  const WindowPlan plan = plan_window(
      child, kWindow, {base, {extent(0, 3, 0, static_cast<uint32_t>(kWindowBytes))}, {}});
  EXPECT_EQ(plan.fresh, (std::vector<WindowRun>{{3 * kPageBytes, 5 * kPageBytes}}));
  ASSERT_EQ(plan.kept.size(), 3U);
  EXPECT_TRUE(plan.kept[0] == extent(0, 3, 0, 3 * kPageBytes));
  EXPECT_TRUE(plan.kept[1] == extent(5 * kPageBytes, 3, 5 * kPageBytes, 95 * kPageBytes));
  EXPECT_TRUE(plan.kept[2].file_offset == kWindow + 101 * kPageBytes);
}

TEST(PlanWindow, OnePageOfZerosBetweenNewPagesIsLaidDownWithThem) {
  auto base = zeros(kWindowBytes);
  fill_page(base, 0, 7);
  fill_page(base, 2, 0);  // zeros that the base has as data
  auto child = base;
  for (const size_t page : {1, 3, 5, 8}) fill_page(child, page, 1);
  const WindowPlan plan =
      plan_window(child, kWindow,
                  {base, {extent(0, 3, 0, kPageBytes), extent(2 * kPageBytes, 3, 8192, 4096)}, {}});
  EXPECT_EQ(plan.fresh, (std::vector<WindowRun>{{1 * kPageBytes, 2 * kPageBytes},
                                                {3 * kPageBytes, 6 * kPageBytes},
                                                {8 * kPageBytes, 9 * kPageBytes}}));
  EXPECT_EQ(plan.kept.size(), 2U);
}

TEST(PlanWindow, LongZerosAreLeftOutWhereTheBaseHasThemAsData) {
  auto base = zeros(kWindowBytes);
  fill_page(base, 0, 7);
  const WindowPlan plan = plan_window(
      base, kWindow, {base, {extent(0, 3, 0, static_cast<uint32_t>(kWindowBytes))}, {}});
  EXPECT_TRUE(plan.fresh.empty());
  ASSERT_EQ(plan.kept.size(), 1U);
  EXPECT_TRUE(plan.kept[0] == extent(0, 3, 0, kPageBytes));
}

TEST(PlanWindow, PagesOfLostChunksAreLaidDown) {
  const auto base = test::random_bytes(kWindowBytes, 2);
  const uint32_t half = kWindowBytes / 2;
  // The border lies within page 256's neighbour: that page needs both.
  const uint32_t border = half + 100;
  const BaseWindow window{
      base,
      {extent(0, 3, 0, border), extent(border, 4, 0, static_cast<uint32_t>(kWindowBytes) - border)},
      {4}};
  const WindowPlan plan = plan_window(base, kWindow, window);
  EXPECT_EQ(plan.fresh, (std::vector<WindowRun>{{half, static_cast<uint32_t>(kWindowBytes)}}));
  ASSERT_EQ(plan.kept.size(), 1U);
  EXPECT_TRUE(plan.kept[0] == extent(0, 3, 0, half));
}

TEST(PlanWindow, WithinTheBudgetNothingIsPromoted) {
  const auto base = test::random_bytes(kWindowBytes, 3);
  std::vector<Extent> extents;
  for (uint32_t i = 0; i < kWindowPieces; ++i)
    extents.push_back(extent(i * (kWindowBytes / 8), i, 0, kWindowBytes / 8));
  EXPECT_TRUE(plan_window(base, kWindow, {base, extents, {}}).fresh.empty());
  // One page changed: its chunk keeps less than the others, and with the new page there are nine.
  auto child = base;
  child[3 * (kWindowBytes / 8)] ^= 1;
  const WindowPlan plan = plan_window(child, kWindow, {base, extents, {}});
  EXPECT_EQ(plan.fresh, (std::vector<WindowRun>{{3 * (kWindowBytes / 8), 4 * (kWindowBytes / 8)}}));
  EXPECT_EQ(plan.kept.size(), 7U);
}

TEST(PlanWindow, OfChunksThatGiveTheSameTheDeadestIsGivenUp) {
  const auto base = test::random_bytes(kWindowBytes, 3);
  std::vector<Extent> extents;
  AliveBytes alive;
  for (uint32_t i = 0; i <= kWindowPieces; ++i) {
    extents.push_back(extent(i * 4 * kPageBytes, i, 0, 4 * kPageBytes));
    alive[i] = {i == 5 ? 300'000U : 600'000U, 1'000'000};
  }
  const WindowPlan plan = plan_window(base, kWindow, {base, extents, {}, &alive});
  // With the new piece there would be nine still: a second one goes.
  ASSERT_FALSE(plan.fresh.empty());
  EXPECT_EQ(plan.kept.size(), kWindowPieces - 1);
  for (const Extent& each : plan.kept) EXPECT_NE(each.chunk, 5U);
  // Not so where it gives much more here than the others.
  extents[5].length = 60 * kPageBytes;
  for (uint32_t i = 6; i <= kWindowPieces; ++i) extents[i].file_offset += 100 * kPageBytes;
  const WindowPlan other = plan_window(base, kWindow, {base, extents, {}, &alive});
  EXPECT_TRUE(std::any_of(other.kept.begin(), other.kept.end(),
                          [](const Extent& each) { return each.chunk == 5; }));
}

TEST(AliveBytesOf, CountsWhatAContentUsesOfEachChunk) {
  Layout layout;
  layout.chunks.resize(3);
  layout.chunks[1].content_bytes = 1000;
  layout.chunks[2].content_bytes = 50;
  layout.extents = {{0, 2, 0, 50}, {0, 1, 0, 100}, {100, 1, 500, 20}, {200, 2, 0, 10}};
  layout.contents = {{0, 1}, {1, 3}};
  const AliveBytes alive = alive_bytes(layout, 1);
  ASSERT_EQ(alive.size(), 2U);
  EXPECT_EQ(alive.at(1).alive, 120U);
  EXPECT_EQ(alive.at(1).content, 1000U);
  EXPECT_EQ(alive.at(2).alive, 10U);
}

// A window whose base lies in pieces at random, and a child that differs at random.
struct RandomWindow {
  std::vector<uint8_t> base;
  std::vector<uint8_t> child;
  std::vector<Extent> extents;
  std::map<uint32_t, std::vector<uint8_t>> chunks;
  std::vector<uint32_t> lost;

  explicit RandomWindow(TestRandom& random) {
    const size_t size = random.below(4) == 0 ? 1 + random.below(kWindowBytes) : kWindowBytes;
    base = zeros(size);
    const uint64_t chunk_count = 1 + random.below(20);
    const bool by_pages = random.below(3) != 0;
    for (size_t at = 0; at < size;) {
      const uint64_t most = random.below(8) == 0 ? 300'000 : 30'000;
      size_t length = 1 + random.below(most);
      if (by_pages) length = (length + kPageBytes - 1) / kPageBytes * kPageBytes;
      length = std::min(length, size - at);
      if (random.below(5) != 0)
        lay(random, at, length, static_cast<uint32_t>(random.below(chunk_count)));
      at += length;
    }
    child = base;
    const uint64_t changes = random.below(3) == 0 ? random.below(400) : random.below(12);
    for (uint64_t i = 0; i < changes; ++i) {
      const size_t at = random.below(size);
      if (random.below(3) == 0) {
        fill_page(child, at / kPageBytes, 0);
      } else {
        child[at] ^= static_cast<uint8_t>(1 + random.below(255));
      }
    }
    for (uint32_t chunk = 0; chunk < chunk_count; ++chunk) {
      if (random.below(12) == 0) lost.push_back(chunk);
    }
  }

  void lay(TestRandom& random, size_t at, size_t length, uint32_t chunk) {
    auto& bytes = chunks[chunk];
    extents.push_back(
        extent(at, chunk, static_cast<uint32_t>(bytes.size()), static_cast<uint32_t>(length)));
    const bool zero = random.below(10) == 0;
    for (size_t i = 0; i < length; ++i) {
      base[at + i] = zero ? 0 : static_cast<uint8_t>(random.next());
      bytes.push_back(base[at + i]);
    }
  }
};

std::set<uint32_t> chunks_of(const std::vector<Extent>& extents) {
  std::set<uint32_t> chunks;
  for (const Extent& each : extents) chunks.insert(each.chunk);
  return chunks;
}

TEST(PlanWindow, HoldsWhatItPromisesForWindowsAtRandom) {
  const uint64_t seed = test::fresh_seed();
  SCOPED_TRACE(seed);
  TestRandom random(seed);
  for (int round = 0; round < 300; ++round) {
    const RandomWindow window(random);
    const WindowPlan plan =
        plan_window(window.child, kWindow, {window.base, window.extents, window.lost});

    // What is read back is the child, and no byte has two places.
    auto read = zeros(window.child.size());
    std::vector<uint8_t> covered(read.size(), 0);
    uint64_t end = kWindow;
    for (const Extent& each : plan.kept) {
      ASSERT_GE(each.file_offset, end);
      end = each.file_offset + each.length;
      const auto& chunk = window.chunks.at(each.chunk);
      ASSERT_LE(each.chunk_offset + each.length, chunk.size());
      std::memcpy(read.data() + (each.file_offset - kWindow), chunk.data() + each.chunk_offset,
                  each.length);
      std::fill_n(covered.begin() + static_cast<ptrdiff_t>(each.file_offset - kWindow), each.length,
                  uint8_t{1});
    }
    for (const WindowRun& run : plan.fresh) {
      ASSERT_LT(run.begin, run.end);
      ASSERT_LE(run.end, read.size());
      for (uint32_t i = run.begin; i < run.end; ++i) {
        ASSERT_EQ(covered[i], 0) << "at " << i;
        read[i] = window.child[i];
      }
    }
    ASSERT_EQ(read, window.child) << "round " << round;

    const auto kept = chunks_of(plan.kept);
    ASSERT_LE(kept.size() + (plan.fresh.empty() ? 0 : 1), kWindowPieces);
    for (const uint32_t chunk : window.lost) ASSERT_FALSE(kept.contains(chunk));
  }
}

// The rule once more, by other means: a set of chunks that is given up, page by page.
TEST(PlanWindow, GivesUpTheChunksThatGiveLeast) {
  const uint64_t seed = test::fresh_seed();
  SCOPED_TRACE(seed);
  TestRandom random(seed);
  for (int round = 0; round < 100; ++round) {
    // Each page is a piece of its own, of one of 14 chunks; a few pages differ.
    const size_t pages = kWindowBytes / kPageBytes;
    std::vector<uint8_t> base = test::random_bytes(kWindowBytes, random.next());
    std::vector<uint8_t> child = base;
    std::vector<Extent> extents;
    std::map<uint32_t, std::set<size_t>> alive;
    std::set<size_t> fresh;
    for (size_t page = 0; page < pages; ++page) {
      const auto chunk = static_cast<uint32_t>(std::min(random.below(14), random.below(14)));
      extents.push_back(extent(page * kPageBytes, chunk, 0, kPageBytes));
      if (random.below(40) == 0) {
        child[page * kPageBytes] ^= 1;
        fresh.insert(page);
      } else {
        alive[chunk].insert(page);
      }
    }
    while (alive.size() + (fresh.empty() ? 0 : 1) > kWindowPieces) {
      const auto least = std::min_element(alive.begin(), alive.end(), [](auto& a, auto& b) {
        return a.second.size() < b.second.size();
      });
      fresh.insert(least->second.begin(), least->second.end());
      alive.erase(least);
    }
    const WindowPlan plan = plan_window(child, kWindow, {base, extents, {}});
    std::set<size_t> laid;
    for (const WindowRun& run : plan.fresh) {
      for (size_t page = run.begin / kPageBytes; page * kPageBytes < run.end; ++page)
        laid.insert(page);
    }
    ASSERT_EQ(laid, fresh) << "round " << round;
  }
}

}  // namespace
}  // namespace thaw
