#include "format/chunker.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace thaw {
namespace {

constexpr std::array<uint64_t, 256> make_gear() {
  std::array<uint64_t, 256> gear{};
  uint64_t state = 0x7468617720636463;  // "thaw cdc": part of the format, for dedup across versions
  for (auto& value : gear) {
    state += 0x9e3779b97f4a7c15;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    value = z ^ (z >> 31);
  }
  return gear;
}

constexpr std::array<uint64_t, 256> kGear = make_gear();

// The high bits depend on the last 64 bytes, the low ones only on a few: so masks sit on top.
constexpr uint64_t high_mask(int bits) { return ~uint64_t{0} << (64 - std::clamp(bits, 1, 63)); }

}  // namespace

size_t first_chunk_length(Bytes bytes, const ChunkerSizes& sizes) {
  if (bytes.size() <= sizes.min_bytes) return bytes.size();
  const size_t limit = std::min(bytes.size(), sizes.max_bytes);
  const size_t normal = std::min(sizes.normal_bytes, limit);
  const int bits = std::bit_width(sizes.normal_bytes) - 1;
  const uint64_t strict = high_mask(bits + 2);
  const uint64_t loose = high_mask(bits - 2);

  const uint8_t* data = bytes.data();
  uint64_t hash = 0;
  size_t at = sizes.min_bytes;
  for (; at < normal; ++at) {
    hash = (hash << 1) + kGear[data[at]];
    if ((hash & strict) == 0) return at + 1;
  }
  for (; at < limit; ++at) {
    hash = (hash << 1) + kGear[data[at]];
    if ((hash & loose) == 0) return at + 1;
  }
  return limit;
}

}  // namespace thaw
