#include "archive/compress.h"

#include <gtest/gtest.h>

#include <string>

#include "archive/block_pipe.h"
#include "archive/decompress.h"

namespace thaw::archive {
namespace {

// Compresses as well as source code does, and is the same each time.
std::string sample(size_t size) {
  std::string text;
  uint64_t state = 1;
  while (text.size() < size) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    text += "word" + std::to_string(state >> 52) + ((state >> 40) % 9 == 0 ? "\n" : " ");
  }
  text.resize(size);
  return text;
}

std::string compressed(const std::string& text, Format format, unsigned threads, size_t step) {
  const Context context;
  std::string out;
  auto compressor = make_compressor(context, format, std::nullopt, threads, [&](Bytes bytes) {
    out += as_text(bytes);
    return Result<>();
  });
  EXPECT_TRUE(compressor);
  for (size_t at = 0; at < text.size(); at += step) {
    EXPECT_TRUE((*compressor)->append(as_bytes(std::string_view(text).substr(at, step))));
  }
  EXPECT_TRUE((*compressor)->finish());
  return out;
}

Result<std::string> decompressed(const std::string& text, size_t step, Compression& found) {
  const Context context;
  size_t at = 0;
  std::string out;
  std::atomic<Compression> compression{Compression::none};
  const BlockSupply supply = [&](const Context&) -> Result<Buffer> {
    const std::string piece = text.substr(at, step);
    at += piece.size();
    return piece.empty() ? Buffer() : Buffer(piece);
  };
  THAW_CHECK(decompress(
      context, supply,
      [&](const Buffer& block) {
        out += as_text(block.view());
        return Result<>();
      },
      &compression));
  found = compression;
  return out;
}

class EveryFormat : public testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(Formats, EveryFormat,
                         testing::Values(Format::tar, Format::tar_gz, Format::tar_zst));

TEST_P(EveryFormat, ComesBackWhateverTheSteps) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1} << 20, size_t{5'000'003}}) {
    const std::string text = sample(size);
    const std::string stored = compressed(text, GetParam(), 2, 70'001);
    for (const size_t step : {size_t{1'000}, size_t{65'536}, stored.size() + 1}) {
      Compression found = Compression::none;
      const auto back = decompressed(stored, step, found);
      ASSERT_TRUE(back) << back.error().text();
      EXPECT_TRUE(*back == text);
      EXPECT_EQ(found, compression_of(GetParam()));
    }
  }
}

TEST_P(EveryFormat, DependsNeitherOnThreadsNorOnSteps) {
  const std::string text = sample(9'000'000);
  const std::string one = compressed(text, GetParam(), 1, 1'000'000);
  EXPECT_TRUE(one == compressed(text, GetParam(), 4, 333'333));
  EXPECT_TRUE(one == compressed(text, GetParam(), 2, text.size()));
}

TEST_P(EveryFormat, CutOffAnywhereIsCorrupt) {
  if (GetParam() == Format::tar) GTEST_SKIP() << "tar itself tells";
  const std::string stored = compressed(sample(100'000), GetParam(), 1, 100'000);
  for (size_t length = kMagicBytes; length < stored.size(); length += 997) {
    Compression found = Compression::none;
    const auto back = decompressed(stored.substr(0, length), 4'096, found);
    ASSERT_FALSE(back) << length;
    EXPECT_EQ(back.error().code(), Code::corrupt);
  }
}

TEST(Decompress, MembersThatFollowOneAnotherAreOneStream) {
  for (const Format format : {Format::tar_gz, Format::tar_zst}) {
    const std::string first = sample(50'000);
    const std::string second = sample(70'000);
    Compression found = Compression::none;
    const auto back = decompressed(
        compressed(first, format, 1, 50'000) + compressed(second, format, 1, 70'000), 777, found);
    ASSERT_TRUE(back) << back.error().text();
    EXPECT_TRUE(*back == first + second);
  }
}

TEST(Decompress, ZerosAfterAMemberArePadding) {
  const std::string stored = compressed("text", Format::tar_gz, 1, 4);
  Compression found = Compression::none;
  EXPECT_EQ(*decompressed(stored + std::string(5'000, '\0'), 100, found), "text");
  EXPECT_FALSE(decompressed(stored + std::string(10, '\0') + "x", 100, found));
  EXPECT_FALSE(decompressed(stored + "garbage", 100, found));
}

TEST(Compress, FormatsHaveNames) {
  EXPECT_EQ(format_of_name("a/cache.tgz"), Format::tar_gz);
  EXPECT_EQ(format_of_name("cache.tar.gz"), Format::tar_gz);
  EXPECT_EQ(format_of_name("cache.tar.zst"), Format::tar_zst);
  EXPECT_EQ(format_of_name("cache.tar"), Format::tar);
  EXPECT_EQ(format_of_name("cache"), std::nullopt);
  EXPECT_EQ(parse_format("tar.gz"), Format::tar_gz);
  EXPECT_EQ(parse_format("zip"), std::nullopt);
}

TEST(Compress, LevelsHaveBounds) {
  EXPECT_TRUE(check_level(Format::tar_gz, 12));
  EXPECT_FALSE(check_level(Format::tar_gz, 13));
  EXPECT_FALSE(check_level(Format::tar_zst, 0));
  EXPECT_FALSE(check_level(Format::tar, 1));
  EXPECT_TRUE(check_level(Format::tar, std::nullopt));
}

}  // namespace
}  // namespace thaw::archive
