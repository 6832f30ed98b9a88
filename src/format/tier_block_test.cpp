#include "format/tier_block.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <functional>

#include "format/checksum.h"
#include "support/random_bytes.h"
#include "support/result_check.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;

TierBlock sample(uint64_t object_bytes = 3 * 131'072 + 70'000, uint64_t number = 3) {
  return {.object = "images/rootfs.ext4",
          .etag = "9a-12",
          .number = number,
          .object_bytes = object_bytes,
          .modified_ns = 1'700'000'000'123'456'789,
          .full_bytes = 131'072};
}

ByteVector changed(const ByteVector& block, const std::function<void(uint8_t*)>& change) {
  ByteVector copy;
  copy.append(block.view());
  change(copy.data());
  return copy;
}

// As a hostile writer would: the checksum is right again.
void seal(uint8_t* header, size_t header_bytes) {
  const auto sum = checksum128({header, header_bytes - 16});
  std::copy(sum.begin(), sum.end(), header + header_bytes - 16);
}

TEST(TierBlock, TheBytesAreThoseOfTheFormat) {
  const auto data = test::random_bytes(70'000, 1);
  const ByteVector block = encode_tier_block(sample(), data);
  ASSERT_EQ(block.size(), 4096U + 70'000U);
  const uint8_t* at = block.data();
  EXPECT_EQ(as_text(block.view().first(8)), "thawbk01");
  EXPECT_EQ(load_le<uint32_t>(at + 8), 4096U);
  EXPECT_EQ(load_le<uint32_t>(at + 12), 131'072U);
  EXPECT_EQ(load_le<uint32_t>(at + 16), 70'000U);
  EXPECT_EQ(load_le<uint32_t>(at + 20), 0U);
  EXPECT_EQ(load_le<uint64_t>(at + 24), 3U);
  EXPECT_EQ(load_le<uint64_t>(at + 32), 463'216U);
  EXPECT_EQ(load_le<int64_t>(at + 40), 1'700'000'000'123'456'789);
  EXPECT_EQ(load_le<uint16_t>(at + 48), 18U);
  EXPECT_EQ(load_le<uint16_t>(at + 50), 5U);
  EXPECT_EQ(load_le<uint64_t>(at + 56), checksum64(Bytes(data).first(65'536)));
  EXPECT_EQ(load_le<uint64_t>(at + 64), checksum64(Bytes(data).subspan(65'536)));
  EXPECT_EQ(as_text(block.view().subspan(72, 23)), "images/rootfs.ext49a-12");
  EXPECT_EQ(to_hex(block.view().subspan(4080, 16)), to_hex(checksum128(block.view().first(4080))));
  EXPECT_TRUE(std::ranges::equal(block.view().subspan(4096), data));
}

TEST(TierBlock, ComesBack) {
  for (const uint64_t object_bytes :
       {uint64_t{1}, uint64_t{65'536}, uint64_t{65'537}, uint64_t{131'072}, uint64_t{131'072} * 7,
        (uint64_t{1} << 62) + 5}) {
    for (const uint64_t number : {uint64_t{0}, (object_bytes - 1) / 131'072}) {
      for (const std::string& etag : {std::string(), std::string(1024, 'e')}) {
        TierBlock block = sample(object_bytes, number);
        block.etag = etag;
        block.object = std::string(etag.empty() ? 1 : 1024, 'n');
        const auto data = test::random_bytes(data_bytes_of(block), number);
        const ByteVector bytes = encode_tier_block(block, data);
        ASSERT_EQ(bytes.size(), header_bytes_of(block) + data.size());
        EXPECT_EQ(tier_header_bytes(bytes.view()).value(), header_bytes_of(block));
        const auto header = parse_tier_header(bytes.view());
        ASSERT_TRUE(is_ok(header));
        EXPECT_EQ(header->block, block);
        EXPECT_EQ(header->header_bytes, header_bytes_of(block));
        EXPECT_EQ(header->data_bytes, data.size());
        EXPECT_TRUE(pieces_match(*header, 0, data));
      }
    }
  }
}

TEST(TierBlock, TheLargestHeaderIsWithinItsBound) {
  TierBlock block = sample(uint64_t{1} << 40, 5);
  block.full_bytes = kTierBlockMost;
  block.object = std::string(kTierNameMost, 'n');
  block.etag = std::string(kTierEtagMost, 'e');
  ASSERT_TRUE(is_valid(block));
  EXPECT_EQ(header_bytes_of(block), kTierHeaderMost);
  EXPECT_EQ(encode_tier_block(block, ByteVector(kTierBlockMost).view()).size(),
            kTierHeaderMost + kTierBlockMost);
}

TEST(TierBlock, EveryFlippedBitOfTheHeaderIsFound) {
  const ByteVector block = encode_tier_block(sample(), test::random_bytes(70'000, 1));
  for (size_t i = 0; i < 4096; ++i) {
    for (const uint8_t bit : {1, 128}) {
      const ByteVector broken = changed(block, [&](uint8_t* at) { at[i] ^= bit; });
      ASSERT_TRUE(fails_with(Code::corrupt, parse_tier_header(broken.view()))) << i;
    }
  }
}

TEST(TierBlock, EveryFlippedByteOfTheDataIsFound) {
  const auto data = test::random_bytes(70'000, 1);
  const ByteVector block = encode_tier_block(sample(), data);
  const auto header = parse_tier_header(block.view());
  ASSERT_TRUE(is_ok(header));
  for (size_t i = 0; i < data.size(); i += 997) {
    auto broken = data;
    broken[i] ^= 4;
    EXPECT_FALSE(pieces_match(*header, 0, broken)) << i;
    EXPECT_EQ(pieces_match(*header, 1, Bytes(broken).subspan(65'536)), i < 65'536) << i;
  }
  EXPECT_TRUE(pieces_match(*header, 0, Bytes(data).first(65'536)));
  EXPECT_TRUE(pieces_match(*header, 1, Bytes(data).subspan(65'536)));
  EXPECT_FALSE(pieces_match(*header, 0, Bytes(data).first(69'999))) << "half a piece";
  EXPECT_FALSE(pieces_match(*header, 0, Bytes(data).first(100))) << "half a piece";
  EXPECT_FALSE(pieces_match(*header, 1, data)) << "past the end";
  EXPECT_FALSE(pieces_match(*header, 5, Bytes(data).first(65'536))) << "past the end";
  EXPECT_FALSE(pieces_match(*header, UINT32_MAX, Bytes(data).first(65'536))) << "past the end";
}

TEST(TierBlock, WhatIsCutOffIsCorrupt) {
  const ByteVector block = encode_tier_block(sample(), test::random_bytes(70'000, 1));
  for (const size_t size : {0U, 7U, 15U, 16U, 56U, 4095U}) {
    EXPECT_TRUE(fails_with(Code::corrupt, parse_tier_header(block.view().first(size)))) << size;
  }
  EXPECT_TRUE(is_ok(parse_tier_header(block.view().first(4096))));
}

TEST(TierBlock, SealedNonsenseIsCorrupt) {
  const ByteVector block = encode_tier_block(sample(), test::random_bytes(70'000, 1));
  const auto refused = [&](const std::function<void(uint8_t*)>& change) {
    const ByteVector broken = changed(block, [&](uint8_t* at) {
      change(at);
      seal(at, 4096);
    });
    return fails_with(Code::corrupt, parse_tier_header(broken.view()));
  };
  ASSERT_FALSE(refused([](uint8_t*) {}));
  EXPECT_TRUE(refused([](uint8_t* at) { store_le<uint32_t>(at + 12, 131'073); }));
  EXPECT_TRUE(refused([](uint8_t* at) { store_le<uint32_t>(at + 12, 32'768); }));
  EXPECT_TRUE(refused([](uint8_t* at) { store_le<uint32_t>(at + 12, 1U << 31); }));
  EXPECT_TRUE(refused([](uint8_t* at) { store_le<uint32_t>(at + 16, 69'999); }));
  EXPECT_TRUE(refused([](uint8_t* at) { at[20] = 1; }));
  EXPECT_TRUE(refused([](uint8_t* at) { store_le<uint64_t>(at + 24, 4); }));
  EXPECT_TRUE(refused([](uint8_t* at) { store_le<uint64_t>(at + 24, UINT64_MAX); }));
  EXPECT_TRUE(refused([](uint8_t* at) { store_le<uint64_t>(at + 32, 0); }));
  EXPECT_TRUE(refused([](uint8_t* at) { store_le<uint16_t>(at + 48, 0); }));
  EXPECT_TRUE(refused([](uint8_t* at) { store_le<uint16_t>(at + 48, 1025); }));
  EXPECT_TRUE(refused([](uint8_t* at) { store_le<uint16_t>(at + 50, 65'535); }));
  EXPECT_TRUE(refused([](uint8_t* at) { at[52] = 1; }));
  EXPECT_TRUE(refused([](uint8_t* at) { at[3000] = 1; })) << "padding";
  const ByteVector longer = changed(block, [](uint8_t* at) {
    store_le<uint32_t>(at + 8, 8192);
    seal(at, 8192);
  });
  EXPECT_TRUE(fails_with(Code::corrupt, parse_tier_header(longer.view())));
}

TEST(TierMarkerBytes, ComesBackAndNothingElseDoes) {
  EXPECT_EQ(as_text(encode_tier_marker().view()), "{\"kind\":\"thaw-tier\",\"format\":1}\n");
  EXPECT_TRUE(is_ok(check_tier_marker(encode_tier_marker().view())));
  EXPECT_TRUE(fails_with(Code::invalid,
                         check_tier_marker(as_bytes("{\"kind\":\"thaw-tier\",\"format\":2}"))));
  for (const char* text : {"", "{}", "[]", "{\"kind\":\"thaw-store\",\"format\":1}",
                           "{\"kind\":\"thaw-tier\"}", "{\"kind\":\"thaw-tier\",\"format\":-1}"}) {
    EXPECT_TRUE(fails_with(Code::corrupt, check_tier_marker(as_bytes(text)))) << text;
  }
  EXPECT_TRUE(fails_with(Code::corrupt, check_tier_marker(as_bytes(std::string(5000, ' ')))));
}

}  // namespace
}  // namespace thaw
