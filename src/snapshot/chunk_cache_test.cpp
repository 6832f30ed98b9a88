#include "snapshot/chunk_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "support/random_bytes.h"

namespace thaw {
namespace {

Buffer chunk_of(size_t size_bytes, uint64_t seed) {
  return Buffer::copy_of(test::random_bytes(size_bytes, seed));
}

TEST(ChunkCache, KeepsWhatFits) {
  ChunkCache cache(1000);
  ChunkCache::Shelf shelf(cache, 8);
  EXPECT_TRUE(shelf.find(3).empty());
  shelf.keep(3, chunk_of(400, 3));
  shelf.keep(4, chunk_of(600, 4));
  EXPECT_EQ(shelf.find(3).size(), 400U);
  EXPECT_EQ(shelf.find(4).size(), 600U);
  EXPECT_FALSE(shelf.holds(5));
  EXPECT_EQ(cache.held_bytes(), 1000U);
}

TEST(ChunkCache, WhatWasLookedUpStaysAndTheOtherGoes) {
  ChunkCache cache(1000);
  ChunkCache::Shelf shelf(cache, 8);
  shelf.keep(0, chunk_of(400, 0));
  shelf.keep(1, chunk_of(400, 1));
  EXPECT_FALSE(shelf.find(0).empty());
  shelf.keep(2, chunk_of(400, 2));
  EXPECT_TRUE(shelf.holds(0));
  EXPECT_FALSE(shelf.holds(1));
  EXPECT_TRUE(shelf.holds(2));
  EXPECT_EQ(cache.held_bytes(), 800U);
}

TEST(ChunkCache, WhatWasHandedOutStaysValid) {
  ChunkCache cache(500);
  ChunkCache::Shelf shelf(cache, 2);
  const Buffer content = chunk_of(500, 7);
  shelf.keep(0, content);
  const Buffer held = shelf.find(0);
  shelf.keep(1, chunk_of(500, 8));
  EXPECT_FALSE(shelf.holds(0));
  EXPECT_TRUE(std::equal(held.view().begin(), held.view().end(), content.view().begin()));
}

TEST(ChunkCache, AChunkLargerThanTheCacheStaysAloneUntilTheNext) {
  ChunkCache cache(100);
  ChunkCache::Shelf shelf(cache, 3);
  shelf.keep(0, chunk_of(60, 0));
  shelf.keep(1, chunk_of(1000, 1));
  EXPECT_FALSE(shelf.holds(0));
  EXPECT_EQ(shelf.find(1).size(), 1000U);
  shelf.keep(2, chunk_of(60, 2));
  EXPECT_FALSE(shelf.holds(1));
  EXPECT_EQ(cache.held_bytes(), 60U);
}

TEST(ChunkCache, AShelfThatGoesGivesItsMemoryBack) {
  ChunkCache cache(1000);
  ChunkCache::Shelf stays(cache, 1);
  stays.keep(0, chunk_of(300, 0));
  {
    ChunkCache::Shelf goes(cache, 4);
    for (uint32_t i = 0; i < 4; ++i) goes.keep(i, chunk_of(100, i));
    EXPECT_EQ(cache.held_bytes(), 700U);
  }
  EXPECT_EQ(cache.held_bytes(), 300U);
  EXPECT_TRUE(stays.holds(0));
}

// Threads look up, keep and evict on two shelves, one of which comes and goes: what is found is
// what was kept under that number, and the bound holds.
TEST(ChunkCache, HoldsItsBoundUnderThreads) {
  constexpr uint64_t kLimit = 64 * 16;
  constexpr uint32_t kChunks = 200;
  ChunkCache cache(kLimit);
  ChunkCache::Shelf shared(cache, kChunks);
  std::atomic<unsigned> wrong{0};
  auto work = [&](uint64_t seed) {
    test::TestRandom random(seed);
    std::unique_ptr<ChunkCache::Shelf> own;
    for (int i = 0; i < 3000; ++i) {
      if (i % 500 == 0) own = std::make_unique<ChunkCache::Shelf>(cache, kChunks);
      ChunkCache::Shelf& shelf = random.below(2) == 0 ? shared : *own;
      const auto chunk = static_cast<uint32_t>(random.below(kChunks));
      const Buffer found = shelf.find(chunk);
      if (found.empty()) {
        shelf.keep(chunk, Buffer(std::string(1 + chunk % 64, static_cast<char>(chunk))));
      } else if (found.size() != 1 + chunk % 64 || found.data()[0] != static_cast<uint8_t>(chunk)) {
        ++wrong;
      }
      if (cache.held_bytes() > kLimit) ++wrong;
    }
  };
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 4; ++seed) threads.emplace_back(work, seed);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0U);
}

}  // namespace
}  // namespace thaw
