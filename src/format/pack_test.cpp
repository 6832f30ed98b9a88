#include "format/pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "format/limits.h"
#include "support/random_bytes.h"
#include "support/result_check.h"

namespace thaw::test {
namespace {

constexpr size_t kRecord = 48;
constexpr size_t kTrailer = 48;

using Object = std::vector<uint8_t>;

FrameRecord record_of(Bytes stored, uint32_t content_bytes, ChunkKind kind = ChunkKind::whole) {
  const auto size = static_cast<uint32_t>(stored.size());
  return {sha256(stored), size, content_bytes, size == content_bytes ? Codec::raw : Codec::zstd,
          kind};
}

Object sample_pack() {
  const auto first = random_bytes(10, 1);
  const auto second = random_bytes(33, 2);
  PackBuilder builder;
  builder.add(record_of(first, 10), first);
  builder.add(record_of(second, 4000, ChunkKind::bundle), second);
  const Buffer object = builder.finish();
  return {object.view().begin(), object.view().end()};
}

// The offset of the first record in a pack of `frames` frames.
size_t records_at(const Object& object, size_t frames) {
  return object.size() - kTrailer - frames * kRecord;
}

// After a change of the footer: the digest that fits.
void seal_again(Object& object, size_t frames) {
  const Bytes footer = Bytes(object).subspan(records_at(object, frames), frames * kRecord + 8);
  const Digest sum = sha256(footer);
  std::copy(sum.bytes.begin(), sum.bytes.end(), object.end() - 40);
}

TEST(PackTest, RoundTrip) {
  const uint64_t seed = fresh_seed();
  SCOPED_TRACE(seed);
  TestRandom random(seed);
  PackBuilder builder;
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(builder.empty());
    EXPECT_EQ(builder.size_bytes(), 8U);
    std::vector<PackFrame> frames;
    std::vector<std::vector<uint8_t>> contents;
    for (int i = 0; i < 50; ++i) {
      contents.push_back(random_bytes(1 + random.below(5000), random.next()));
      const auto kind = static_cast<ChunkKind>(random.below(2));
      const auto size = static_cast<uint32_t>(contents.back().size());
      const FrameRecord record =
          record_of(contents.back(), size + static_cast<uint32_t>(random.below(3)), kind);
      const uint32_t offset = builder.add(record, contents.back());
      frames.push_back({record, offset});
    }
    EXPECT_FALSE(builder.empty());
    const uint64_t expected = pack_object_bytes(builder.size_bytes(), frames.size());
    const Buffer object = builder.finish();
    EXPECT_EQ(object.size(), expected);
    const auto parsed = parse_pack(object.view());
    ASSERT_TRUE(is_ok(parsed));
    ASSERT_EQ(parsed->size(), frames.size());
    for (size_t i = 0; i < frames.size(); ++i) {
      const PackFrame& frame = (*parsed)[i];
      EXPECT_EQ(frame.offset, frames[i].offset);
      EXPECT_EQ(frame.record.digest, frames[i].record.digest);
      EXPECT_EQ(frame.record.stored_bytes, frames[i].record.stored_bytes);
      EXPECT_EQ(frame.record.content_bytes, frames[i].record.content_bytes);
      EXPECT_EQ(frame.record.codec, frames[i].record.codec);
      EXPECT_EQ(frame.record.kind, frames[i].record.kind);
      const Bytes stored = object.view().subspan(frame.offset, frame.record.stored_bytes);
      EXPECT_TRUE(std::equal(stored.begin(), stored.end(), contents[i].begin(), contents[i].end()));
    }
  }
}

// The offsets of docs/format.md, written out.
TEST(PackTest, ByteForByteAsDocumented) {
  ByteVector expected;
  expected.append(as_bytes("thawpk01"));
  const auto first = random_bytes(10, 1);
  const auto second = random_bytes(33, 2);
  expected.append(first);
  expected.append(second);
  ByteVector footer;
  footer.append(sha256(first).bytes);
  footer.append(as_bytes(std::string_view("\x0a\0\0\0\x0a\0\0\0\0\0\0\0\0\0\0\0", 16)));
  footer.append(sha256(second).bytes);
  footer.append(as_bytes(std::string_view("\x21\0\0\0\xa0\x0f\0\0\1\1\0\0\0\0\0\0", 16)));
  footer.append(as_bytes(std::string_view("\2\0\0\0\0\0\0\0", 8)));
  expected.append(footer.view());
  expected.append(sha256(footer.view()).bytes);
  expected.append(as_bytes("thawpkf1"));
  const Object pack = sample_pack();
  EXPECT_EQ(to_hex(pack), to_hex(expected.view()));
  EXPECT_EQ(pack.size(), 8 + 10 + 33 + 2 * 48 + 48U);
}

TEST(PackTest, EveryFlippedBitOutsideTheFramesIsDetected) {
  const Object pack = sample_pack();
  for (size_t bit = 0; bit < pack.size() * 8; ++bit) {
    Object broken = pack;
    broken[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    const bool in_frames = bit / 8 >= 8 && bit / 8 < records_at(pack, 2);
    if (in_frames) {
      EXPECT_TRUE(is_ok(parse_pack(broken)));
    } else {
      EXPECT_TRUE(fails_with(Code::corrupt, parse_pack(broken))) << bit;
    }
  }
}

TEST(PackTest, EveryTruncationIsRefused) {
  const Object pack = sample_pack();
  for (size_t size = 0; size < pack.size(); ++size) {
    EXPECT_TRUE(fails_with(Code::corrupt, parse_pack(Bytes(pack).first(size)))) << size;
    EXPECT_TRUE(fails_with(Code::corrupt, parse_pack(Bytes(pack).last(size)))) << size;
  }
}

TEST(PackTest, GapsAndOverrunsAreRefused) {
  const Object pack = sample_pack();
  for (const int change : {1, -1, 1000}) {
    Object broken = pack;
    uint8_t* second = broken.data() + records_at(pack, 2) + kRecord;
    const auto stored =
        static_cast<uint32_t>(static_cast<int>(load_le<uint32_t>(second + 32)) + change);
    store_le(second + 32, stored);
    seal_again(broken, 2);
    EXPECT_TRUE(fails_with(Code::corrupt, parse_pack(broken))) << change;
  }
  Object gap = pack;
  gap.insert(gap.begin() + 8, 0);
  EXPECT_TRUE(fails_with(Code::corrupt, parse_pack(gap)));
  Object missing = pack;
  missing.erase(missing.begin() + 8);
  EXPECT_TRUE(fails_with(Code::corrupt, parse_pack(missing)));
}

TEST(PackTest, ARecordsFieldsAreChecked) {
  struct Change {
    const char* what;
    size_t at;  // in the first record, of a raw frame of 10 bytes
    uint32_t value;
    bool valid;
  };
  const Change changes[] = {
      {"as it was", 36, 10, true},
      {"raw, and longer than its frame", 36, 11, false},
      {"zstd of a longer content", 40, 1, true},
      {"no content", 36, 0, false},
      {"content over the cap", 36, limits::kChunkBytes + 1, false},
      {"unknown codec", 40, 2, false},
      {"unknown kind", 40, 0x200, false},
      {"padding", 40, 0x10000, false},
      {"more padding", 44, 0x80000000, false},
  };
  for (const Change& change : changes) {
    Object pack = sample_pack();
    uint8_t* record = pack.data() + records_at(pack, 2);
    store_le(record + change.at, change.value);
    seal_again(pack, 2);
    EXPECT_EQ(parse_pack(pack).ok(), change.valid) << change.what;
  }
  // Shorter than its frame, even for zstd.
  Object pack = sample_pack();
  store_le(pack.data() + records_at(pack, 2) + kRecord + 36, uint32_t{32});
  seal_again(pack, 2);
  EXPECT_TRUE(fails_with(Code::corrupt, parse_pack(pack)));
}

TEST(PackTest, ATrailersFieldsAreChecked) {
  Object reserved = sample_pack();
  reserved[reserved.size() - 44] = 1;
  seal_again(reserved, 2);
  EXPECT_TRUE(fails_with(Code::corrupt, parse_pack(reserved)));

  for (const uint32_t count :
       {0U, 1U, 3U, limits::kPackFrames, limits::kPackFrames + 1, 0x05555556U, UINT32_MAX}) {
    Object pack = sample_pack();
    store_le(pack.data() + pack.size() - kTrailer, count);
    if (count <= 3) seal_again(pack, count);
    EXPECT_TRUE(fails_with(Code::corrupt, parse_pack(pack))) << count;
  }
}

TEST(PackTest, AnEmptyPackIsRefused) {
  PackBuilder builder;
  const Buffer object = builder.finish();
  EXPECT_TRUE(fails_with(Code::corrupt, parse_pack(object.view())));
}

TEST(PackTest, TheCapOfAnObject) {
  const std::vector<uint8_t> frame = random_bytes(limits::kChunkBytes, 9);
  PackBuilder builder;
  for (int i = 0; i < 7; ++i) builder.add(record_of(frame, limits::kChunkBytes), frame);
  const auto left =
      static_cast<uint32_t>(limits::kPackBytes - pack_object_bytes(builder.size_bytes(), 8));
  const Bytes last = Bytes(frame).first(left);
  builder.add(record_of(last, left), last);
  const Buffer object = builder.finish();
  EXPECT_EQ(object.size(), limits::kPackBytes);
  EXPECT_TRUE(is_ok(parse_pack(object.view())));

  ByteVector longer;
  longer.resize(limits::kPackBytes + 1);
  std::fill_n(longer.data(), longer.size(), uint8_t{0});
  std::copy_n(object.data(), 8, longer.data());
  std::copy_n(object.data() + object.size() - kTrailer, kTrailer,
              longer.data() + longer.size() - kTrailer);
  EXPECT_TRUE(fails_with(Code::corrupt, parse_pack(longer.view())));
}

}  // namespace
}  // namespace thaw::test
