// Blocks of tiers from anywhere. The first byte of the input chooses the lane:
//   0  the rest is a block
//   1  the rest is a block whose magic, header length and checksum are put right first
//   2  the rest is a recipe for a block
//   3  the rest is a tier's marker
#include <algorithm>

#include "check.h"
#include "format/checksum.h"
#include "format/tier_block.h"
#include "taker.h"

namespace thaw {
namespace {

// A header that parses is what the encoder makes of its values, but for sums of other data.
void fuzz_block(Bytes block) {
  const auto header = parse_tier_header(block);
  if (!header) {
    FUZZ_CHECK(header.error().code() == Code::corrupt);
    return;
  }
  FUZZ_CHECK(is_valid(header->block));
  FUZZ_CHECK(header->header_bytes == tier_header_bytes(block).value());
  FUZZ_CHECK(header->sums.size() == (header->data_bytes + kTierPieceBytes - 1) / kTierPieceBytes);
  const Bytes data = block.subspan(header->header_bytes);
  if (data.size() == header->data_bytes && pieces_match(*header, 0, data)) {
    const ByteVector again = encode_tier_block(header->block, data);
    FUZZ_CHECK(std::ranges::equal(again.view(), block));
  }
  // Whatever is asked, nothing outside is read.
  for (const uint32_t first : {0U, 1U, 1000U, UINT32_MAX}) {
    static_cast<void>(pieces_match(*header, first, data));
  }
}

void fuzz_sealed(Bytes input) {
  ByteVector block;
  block.append(input);
  block.resize(std::max<size_t>(block.size(), kTierHeaderLeast));
  std::fill(block.data() + input.size(), block.data() + block.size(), uint8_t{0});
  std::copy_n("thawbk01", 8, block.data());
  store_le(block.data() + 8, kTierHeaderLeast);
  const auto sum = checksum128(block.view().first(kTierHeaderLeast - 16));
  std::copy(sum.begin(), sum.end(), block.data() + kTierHeaderLeast - 16);
  fuzz_block(block.view());
}

void fuzz_recipe(Taker from) {
  TierBlock block;
  block.full_bytes = kTierBlockLeast << from.below(3);
  block.object_bytes = from.below(4) == 0 ? from.u64() : from.below(1U << 19);
  block.number =
      block.object_bytes == 0 ? 0 : from.u64() % (block.object_bytes / block.full_bytes + 1);
  block.modified_ns = static_cast<int64_t>(from.u64());
  block.object = from.text(from.u16() % 1200);
  block.etag = from.text(from.u16() % 1200);
  if (!is_valid(block)) return;
  ByteVector data(data_bytes_of(block));
  for (size_t i = 0; i < data.size(); ++i) data.data()[i] = static_cast<uint8_t>(i * 7);
  const ByteVector bytes = encode_tier_block(block, data.view());
  const auto header = parse_tier_header(bytes.view());
  FUZZ_CHECK(header.ok() && header->block == block);
  FUZZ_CHECK(pieces_match(*header, 0, data.view()));
  fuzz_block(bytes.view());
}

}  // namespace
}  // namespace thaw

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  thaw::Taker input({data, size});
  switch (input.byte() % 4) {
    case 0:
      thaw::fuzz_block(input.rest());
      break;
    case 1:
      thaw::fuzz_sealed(input.rest());
      break;
    case 2:
      thaw::fuzz_recipe(input);
      break;
    default:
      static_cast<void>(thaw::check_tier_marker(input.rest()));
      break;
  }
  return 0;
}
