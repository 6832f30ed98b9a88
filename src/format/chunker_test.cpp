#include "format/chunker.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <vector>

#include "format/digest.h"
#include "support/random_bytes.h"

namespace thaw::test {
namespace {

constexpr size_t kMiB = 1024 * 1024;
constexpr ChunkerSizes kSmall{1024, 4096, 16384};

std::vector<size_t> lengths_of(Bytes bytes, const ChunkerSizes& sizes) {
  std::vector<size_t> lengths;
  while (!bytes.empty()) {
    lengths.push_back(first_chunk_length(bytes, sizes));
    bytes = bytes.subspan(lengths.back());
  }
  return lengths;
}

std::set<Digest> chunks_of(Bytes bytes, const ChunkerSizes& sizes) {
  std::set<Digest> digests;
  for (const size_t length : lengths_of(bytes, sizes)) {
    digests.insert(sha256(bytes.first(length)));
    bytes = bytes.subspan(length);
  }
  return digests;
}

// Computed by another program (Python) from the same description. Where cuts lie is no part of what
// readers need, but of what deduplicates against what older versions wrote.
TEST(ChunkerTest, GoldenCuts) {
  const std::vector<size_t> small = {4205, 7316, 4133, 1745, 1942, 5321, 2276, 7619,
                                     4800, 5029, 5556, 2684, 6480, 1589, 4278, 563};
  EXPECT_EQ(lengths_of(random_bytes(64 * 1024, 2), kSmall), small);
  const std::vector<size_t> large = {2186469, 2292661, 2104821, 3309569,
                                     2278400, 2464696, 912602,  1227998};
  EXPECT_EQ(lengths_of(random_bytes(16 * kMiB, 3), ChunkerSizes()), large);
}

TEST(ChunkerTest, SizesStayInBoundsAndTheirAverageIsNearNormal) {
  const uint64_t seed = fresh_seed();
  SCOPED_TRACE(seed);
  const auto bytes = random_bytes(8 * kMiB, seed);
  const auto lengths = lengths_of(bytes, kSmall);
  for (size_t i = 0; i < lengths.size(); ++i) {
    EXPECT_LE(lengths[i], kSmall.max_bytes);
    if (i + 1 < lengths.size()) {
      EXPECT_GT(lengths[i], kSmall.min_bytes);
    }
  }
  const size_t average = bytes.size() / lengths.size();
  EXPECT_GT(average, kSmall.normal_bytes * 8 / 10);
  EXPECT_LT(average, kSmall.normal_bytes * 14 / 10);
}

TEST(ChunkerTest, ShortInputIsOneChunk) {
  const auto bytes = random_bytes(kSmall.min_bytes, 5);
  EXPECT_EQ(first_chunk_length({}, kSmall), 0U);
  EXPECT_EQ(first_chunk_length(Bytes(bytes).first(1), kSmall), 1U);
  EXPECT_EQ(first_chunk_length(bytes, kSmall), kSmall.min_bytes);
}

TEST(ChunkerTest, OnlyTheBytesUpToTheMaximumMatter) {
  const auto bytes = random_bytes(256 * 1024, 6);
  for (Bytes rest = bytes; !rest.empty();) {
    const size_t whole = first_chunk_length(rest, kSmall);
    const size_t offered = std::min(kSmall.max_bytes, rest.size());
    EXPECT_EQ(first_chunk_length(rest.first(offered), kSmall), whole);
    rest = rest.subspan(whole);
  }
}

TEST(ChunkerTest, CutsReappearAfterAnInsertion) {
  const uint64_t seed = fresh_seed();
  SCOPED_TRACE(seed);
  const auto bytes = random_bytes(4 * kMiB, seed);
  const auto before = chunks_of(bytes, kSmall);
  for (const size_t inserted : {1, 17, 1000, 5000}) {
    auto longer = random_bytes(inserted, seed + 1);
    longer.insert(longer.end(), bytes.begin(), bytes.end());
    size_t shared = 0;
    for (const Digest& digest : chunks_of(longer, kSmall)) shared += before.count(digest);
    EXPECT_GT(shared, before.size() * 9 / 10) << inserted;
  }
}

TEST(ChunkerTest, RepetitiveInput) {
  for (const int value : {0, 1, 0xff}) {
    const std::vector<uint8_t> bytes(1 * kMiB, static_cast<uint8_t>(value));
    const auto lengths = lengths_of(bytes, kSmall);
    EXPECT_EQ(std::accumulate(lengths.begin(), lengths.end(), size_t{0}), bytes.size());
    // All alike, but the last.
    for (size_t i = 0; i + 1 < lengths.size(); ++i) EXPECT_EQ(lengths[i], lengths[0]) << value;
    EXPECT_GT(lengths[0], kSmall.min_bytes);
  }
  const std::vector<uint8_t> zeros(9 * kMiB);
  const std::vector<size_t> expected = {4 * kMiB, 4 * kMiB, 1 * kMiB};
  EXPECT_EQ(lengths_of(zeros, ChunkerSizes()), expected);
}

TEST(ChunkerTest, OddSizes) {
  const auto bytes = random_bytes(10'000, 8);
  for (const ChunkerSizes& sizes :
       {ChunkerSizes{1, 1, 1}, ChunkerSizes{1, 2, 3}, ChunkerSizes{64, 64, 64},
        ChunkerSizes{100, 1000, 1000}, ChunkerSizes{1, SIZE_MAX, SIZE_MAX}}) {
    for (Bytes rest = bytes; !rest.empty();) {
      const size_t length = first_chunk_length(rest, sizes);
      ASSERT_GT(length, 0U);
      ASSERT_LE(length, std::min(sizes.max_bytes, rest.size()));
      rest = rest.subspan(length);
    }
  }
}

}  // namespace
}  // namespace thaw::test
