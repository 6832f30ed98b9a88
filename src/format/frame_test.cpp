#include "format/frame.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <string>
#include <vector>

#include "format/limits.h"
#include "support/random_bytes.h"
#include "support/result_check.h"

namespace thaw::test {
namespace {

std::vector<uint8_t> copy_of(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

std::vector<uint8_t> text_of(size_t size_bytes) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; bytes.size() < size_bytes; ++i) {
    const std::string line = "line " + std::to_string(i * i) + " of a log\n";
    bytes.insert(bytes.end(), line.begin(), line.end());
  }
  bytes.resize(size_bytes);
  return bytes;
}

// As a whole zstd frame, in its plainest form.
std::vector<uint8_t> zstd_frame(Bytes content) {
  std::vector<uint8_t> frame(ZSTD_compressBound(content.size()));
  frame.resize(ZSTD_compress(frame.data(), frame.size(), content.data(), content.size(), 3));
  return frame;
}

Result<Bytes> decode_zstd(Bytes stored, size_t content_bytes) {
  static FrameDecoder decoder;
  return decoder.decode(Codec::zstd, stored, content_bytes);
}

TEST(FrameTest, RoundTrips) {
  FrameEncoder encoder;
  FrameDecoder decoder;
  const std::vector<uint8_t> contents[] = {
      {0},
      {255},
      text_of(2),
      text_of(100),
      text_of(2 * limits::kMiB),
      random_bytes(100'000, 1),
      std::vector<uint8_t>(limits::kChunkBytes),
      random_bytes(limits::kChunkBytes, 2),
  };
  for (const auto& content : contents) {
    SCOPED_TRACE(content.size());
    const auto encoded = encoder.encode(content);
    ASSERT_TRUE(is_ok(encoded));
    EXPECT_LE(encoded->bytes.size(), content.size());
    const auto decoded = decoder.decode(encoded->codec, encoded->bytes, content.size());
    ASSERT_TRUE(is_ok(decoded));
    EXPECT_EQ(copy_of(*decoded), content);
    std::vector<uint8_t> into(content.size());
    ASSERT_TRUE(is_ok(decoder.decode_into(encoded->codec, encoded->bytes, into)));
    EXPECT_EQ(into, content);
    into.resize(content.size() + 1);
    EXPECT_TRUE(
        fails_with(Code::corrupt, decoder.decode_into(encoded->codec, encoded->bytes, into)));
  }
}

TEST(FrameTest, MovedCodersWork) {
  FrameEncoder first(1);
  FrameEncoder encoder = std::move(first);
  const auto content = text_of(1000);
  const auto encoded = encoder.encode(content);
  ASSERT_TRUE(is_ok(encoded));
  EXPECT_EQ(encoded->codec, Codec::zstd);
  FrameDecoder other;
  FrameDecoder decoder = std::move(other);
  EXPECT_TRUE(is_ok(decoder.decode(Codec::zstd, encoded->bytes, content.size())));
}

TEST(FrameTest, EncoderRefusesWhatIsNoChunk) {
  FrameEncoder encoder;
  EXPECT_TRUE(fails_with(Code::internal, encoder.encode({})));
  const std::vector<uint8_t> long_one(limits::kChunkBytes + 1);
  EXPECT_TRUE(fails_with(Code::internal, encoder.encode(long_one)));
}

// A frame is zstd exactly when that saves 1/32 or more.
TEST(FrameTest, RawWhereZstdSavesLessThanAThirtySecond) {
  FrameEncoder encoder;
  bool seen_raw = false;
  bool seen_zstd = false;
  constexpr size_t kSize = 32 * 1024;
  for (size_t random_part = kSize - 2048; random_part <= kSize; random_part += 16) {
    auto content = random_bytes(random_part, 7);
    content.resize(kSize);
    const size_t stored = zstd_frame(content).size();
    const auto encoded = encoder.encode(content);
    ASSERT_TRUE(is_ok(encoded));
    const bool worth = stored <= kSize - kSize / 32;
    EXPECT_EQ(encoded->codec, worth ? Codec::zstd : Codec::raw) << stored;
    EXPECT_EQ(encoded->bytes.size(), worth ? stored : kSize);
    (worth ? seen_zstd : seen_raw) = true;
  }
  EXPECT_TRUE(seen_raw);
  EXPECT_TRUE(seen_zstd);
}

TEST(FrameTest, SmallContentsAreNeverZstdWithoutGain) {
  FrameEncoder encoder;
  for (size_t size = 1; size <= 64; ++size) {
    const std::vector<uint8_t> content(size, 'x');
    const auto encoded = encoder.encode(content);
    ASSERT_TRUE(is_ok(encoded));
    if (encoded->codec == Codec::zstd) {
      EXPECT_LE(encoded->bytes.size() * 32, size * 31);
    } else {
      EXPECT_EQ(encoded->bytes.data(), content.data());
    }
  }
}

TEST(FrameTest, RawFramesAreTheirContent) {
  FrameDecoder decoder;
  const auto content = random_bytes(100, 3);
  EXPECT_TRUE(is_ok(decoder.decode(Codec::raw, content, 100)));
  EXPECT_TRUE(fails_with(Code::corrupt, decoder.decode(Codec::raw, content, 99)));
  EXPECT_TRUE(fails_with(Code::corrupt, decoder.decode(Codec::raw, content, 101)));
  EXPECT_TRUE(fails_with(Code::corrupt, decoder.decode(Codec::raw, {}, 0)));
}

TEST(FrameTest, LengthsOutOfBounds) {
  const auto frame = zstd_frame(std::vector<uint8_t>(1000));
  EXPECT_TRUE(is_ok(decode_zstd(frame, 1000)));
  for (const size_t wrong : {size_t{0}, size_t{999}, size_t{1001}, size_t{limits::kChunkBytes},
                             limits::kChunkBytes + 1, SIZE_MAX}) {
    EXPECT_TRUE(fails_with(Code::corrupt, decode_zstd(frame, wrong))) << wrong;
  }
  EXPECT_TRUE(fails_with(Code::corrupt, decode_zstd(zstd_frame({}), 0)));
}

TEST(FrameTest, UnknownCodec) {
  FrameDecoder decoder;
  const auto content = random_bytes(10, 3);
  EXPECT_TRUE(fails_with(Code::corrupt, decoder.decode(static_cast<Codec>(2), content, 10)));
}

TEST(FrameTest, EveryTruncationIsRefused) {
  const auto content = text_of(3000);
  const auto frame = zstd_frame(content);
  for (size_t size = 0; size < frame.size(); ++size) {
    EXPECT_TRUE(fails_with(Code::corrupt, decode_zstd(Bytes(frame).first(size), content.size())));
  }
}

TEST(FrameTest, FlippedBitsAreRefusedOrGiveContentOfTheSameLength) {
  const auto content = text_of(3000);
  const auto frame = zstd_frame(content);
  for (size_t bit = 0; bit < frame.size() * 8; ++bit) {
    auto broken = frame;
    broken[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    const auto decoded = decode_zstd(broken, content.size());
    if (decoded) {
      EXPECT_EQ(decoded->size(), content.size());
    }
  }
}

TEST(FrameTest, NothingMayFollowOrPrecedeTheFrame) {
  const auto content = text_of(1000);
  const auto frame = zstd_frame(content);
  auto joined = [](std::vector<uint8_t> a, const std::vector<uint8_t>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  EXPECT_TRUE(fails_with(Code::corrupt, decode_zstd(joined(frame, {0}), 1000)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_zstd(joined({0}, frame), 1000)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_zstd(joined(frame, frame), 2000)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_zstd(joined(frame, zstd_frame({})), 1000)));
  const std::vector<uint8_t> skippable = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'};
  EXPECT_TRUE(fails_with(Code::corrupt, decode_zstd(joined(frame, skippable), 1000)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_zstd(joined(skippable, frame), 1000)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_zstd(skippable, 1)));
}

TEST(FrameTest, AFrameThatDoesNotSayItsContentsSizeIsRefused) {
  const auto content = text_of(1000);
  std::vector<uint8_t> frame(ZSTD_compressBound(content.size()));
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  const size_t stored =
      ZSTD_compress2(context, frame.data(), frame.size(), content.data(), content.size());
  ZSTD_freeCCtx(context);
  ASSERT_FALSE(ZSTD_isError(stored));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_zstd(Bytes(frame).first(stored), content.size())));
}

}  // namespace
}  // namespace thaw::test
