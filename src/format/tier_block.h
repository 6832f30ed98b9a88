// Blocks of tiers and the tier's marker: bytes to values and back. See docs/format.md, "Blocks of
// tiers".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace thaw {

inline constexpr uint32_t kTierPieceBytes = 64 * 1024;  // what one sum covers
inline constexpr uint32_t kTierBlockLeast = 64 * 1024;
inline constexpr uint32_t kTierBlockMost = 64 * 1024 * 1024;
inline constexpr size_t kTierNameMost = 1024;
inline constexpr size_t kTierEtagMost = 1024;
inline constexpr uint32_t kTierHeaderLeast = 4096;
inline constexpr uint32_t kTierHeaderMost = 12 * 1024;
inline constexpr size_t kTierMarkerBytes = 4096;

// A power of two within the bounds.
bool is_tier_block_size(uint64_t full_bytes);

// What a block says that it is.
struct TierBlock {
  std::string object;
  std::string etag;  // empty when the object is write-once
  uint64_t number = 0;
  uint64_t object_bytes = 0;
  int64_t modified_ns = 0;
  uint32_t full_bytes = 0;  // of every block but the object's last
  bool operator==(const TierBlock&) const = default;
};

// Whether such a block can be written.
bool is_valid(const TierBlock& block);
// Of this block. Precondition: is_valid().
uint32_t data_bytes_of(const TierBlock& block);
uint32_t header_bytes_of(const TierBlock& block);

// The whole block, header and data. Preconditions: is_valid(), data.size() == data_bytes_of().
ByteVector encode_tier_block(const TierBlock& block, Bytes data);

struct TierBlockHeader {
  TierBlock block;
  uint32_t header_bytes = 0;
  uint32_t data_bytes = 0;
  std::vector<uint64_t> sums;  // one a piece
};

// How long the header is, from its first 16 bytes; Code::corrupt when it is none.
Result<uint32_t> tier_header_bytes(Bytes front);
// From the first bytes of a block. Code::corrupt for everything that encode_tier_block() does not
// write, for fewer bytes than the header has too. The caller compares `block` with what it wants.
Result<TierBlockHeader> parse_tier_header(Bytes front);
// Whether `data` is that of the block from its piece `first` on: whole pieces, or up to its end.
bool pieces_match(const TierBlockHeader& header, uint32_t first, Bytes data);

// The object that makes a place a tier.
inline constexpr std::string_view kTierMarkerName = "thaw-tier.json";
Buffer encode_tier_marker();
// Refuses other formats (invalid, with both numbers) and what is no marker (corrupt).
Result<> check_tier_marker(Bytes object);

}  // namespace thaw
