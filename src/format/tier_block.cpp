#include "format/tier_block.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "format/checksum.h"

namespace thaw {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMagic = "thawbk01";
constexpr size_t kFixedBytes = 56;
constexpr size_t kChecksumBytes = 16;
constexpr uint64_t kMarkerFormat = 1;

uint32_t pieces_of(uint32_t data_bytes) {
  return (data_bytes + kTierPieceBytes - 1) / kTierPieceBytes;
}

uint32_t header_bytes(uint32_t data_bytes, size_t name_bytes, size_t etag_bytes) {
  const size_t used =
      kFixedBytes + size_t{8} * pieces_of(data_bytes) + name_bytes + etag_bytes + kChecksumBytes;
  return static_cast<uint32_t>((used + kTierHeaderLeast - 1) / kTierHeaderLeast * kTierHeaderLeast);
}

Error corrupt(const char* what) { return {Code::corrupt, std::string("tier block: ") + what}; }

bool only_zeros(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// The fields of fixed places; `sums` and the texts follow.
Result<TierBlockHeader> parse_fixed(const uint8_t* at) {
  TierBlockHeader header;
  header.header_bytes = load_le<uint32_t>(at + 8);
  header.block.full_bytes = load_le<uint32_t>(at + 12);
  header.data_bytes = load_le<uint32_t>(at + 16);
  header.block.number = load_le<uint64_t>(at + 24);
  header.block.object_bytes = load_le<uint64_t>(at + 32);
  header.block.modified_ns = load_le<int64_t>(at + 40);
  if (load_le<uint32_t>(at + 20) != 0 || load_le<uint32_t>(at + 52) != 0) {
    return corrupt("reserved bytes are set");
  }
  header.block.object.resize(load_le<uint16_t>(at + 48));
  header.block.etag.resize(load_le<uint16_t>(at + 50));
  if (!is_valid(header.block)) return corrupt("its numbers cannot be");
  if (header.data_bytes != data_bytes_of(header.block)) return corrupt("its length cannot be");
  if (header.header_bytes != header_bytes_of(header.block)) {
    return corrupt("its header's length cannot be");
  }
  return header;
}

}  // namespace

bool is_tier_block_size(uint64_t full_bytes) {
  return std::has_single_bit(full_bytes) && full_bytes >= kTierBlockLeast &&
         full_bytes <= kTierBlockMost;
}

bool is_valid(const TierBlock& block) {
  return is_tier_block_size(block.full_bytes) && !block.object.empty() &&
         block.object.size() <= kTierNameMost && block.etag.size() <= kTierEtagMost &&
         block.object_bytes > 0 && block.number <= (block.object_bytes - 1) / block.full_bytes;
}

uint32_t data_bytes_of(const TierBlock& block) {
  const uint64_t left = block.object_bytes - block.number * block.full_bytes;
  return static_cast<uint32_t>(std::min<uint64_t>(left, block.full_bytes));
}

uint32_t header_bytes_of(const TierBlock& block) {
  return header_bytes(data_bytes_of(block), block.object.size(), block.etag.size());
}

ByteVector encode_tier_block(const TierBlock& block, Bytes data) {
  const uint32_t header = header_bytes_of(block);
  ByteVector bytes(header + data.size());
  uint8_t* at = bytes.data();
  std::memset(at, 0, header);
  std::memcpy(at, kMagic.data(), kMagic.size());
  store_le(at + 8, header);
  store_le(at + 12, block.full_bytes);
  store_le(at + 16, static_cast<uint32_t>(data.size()));
  store_le(at + 24, block.number);
  store_le(at + 32, block.object_bytes);
  store_le(at + 40, block.modified_ns);
  store_le(at + 48, static_cast<uint16_t>(block.object.size()));
  store_le(at + 50, static_cast<uint16_t>(block.etag.size()));
  uint8_t* next = at + kFixedBytes;
  uint8_t* to = at + header;
  while (!data.empty()) {
    const Bytes piece = data.first(std::min<size_t>(data.size(), kTierPieceBytes));
    std::memcpy(to, piece.data(), piece.size());
    store_le(next, checksum64({to, piece.size()}));
    to += piece.size();
    next += sizeof(uint64_t);
    data = data.subspan(piece.size());
  }
  next = std::copy(block.object.begin(), block.object.end(), next);
  std::copy(block.etag.begin(), block.etag.end(), next);
  const auto sum = checksum128({at, header - kChecksumBytes});
  std::memcpy(at + header - kChecksumBytes, sum.data(), sum.size());
  return bytes;
}

Result<uint32_t> tier_header_bytes(Bytes front) {
  if (front.size() < kChecksumBytes || as_text(front.first(kMagic.size())) != kMagic) {
    return corrupt("it has another magic");
  }
  const auto length = load_le<uint32_t>(front.data() + 8);
  if (length % kTierHeaderLeast != 0 || length < kTierHeaderLeast || length > kTierHeaderMost) {
    return corrupt("its header's length cannot be");
  }
  return length;
}

Result<TierBlockHeader> parse_tier_header(Bytes front) {
  THAW_ASSIGN(const uint32_t length, tier_header_bytes(front));
  if (front.size() < length) return corrupt("its header is cut off");
  const Bytes header = front.first(length);
  // First, so that nothing else is looked at in what rotted.
  const auto sum = checksum128(header.first(length - kChecksumBytes));
  if (!std::equal(sum.begin(), sum.end(), header.last(kChecksumBytes).begin())) {
    return corrupt("its header does not match its checksum");
  }
  THAW_ASSIGN(TierBlockHeader parsed, parse_fixed(header.data()));
  size_t at = kFixedBytes;
  parsed.sums.resize(pieces_of(parsed.data_bytes));
  for (uint64_t& each : parsed.sums) {
    each = load_le<uint64_t>(header.data() + at);
    at += sizeof each;
  }
  for (std::string* text : {&parsed.block.object, &parsed.block.etag}) {
    *text = as_text(header.subspan(at, text->size()));
    at += text->size();
  }
  if (!only_zeros(header.subspan(at, length - kChecksumBytes - at))) {
    return corrupt("its padding is not zero");
  }
  return parsed;
}

bool pieces_match(const TierBlockHeader& header, uint32_t first, Bytes data) {
  const uint64_t from = uint64_t{first} * kTierPieceBytes;
  if (from + data.size() > header.data_bytes) return false;
  const bool to_the_end = from + data.size() == header.data_bytes;
  if (!to_the_end && data.size() % kTierPieceBytes != 0) return false;
  for (uint32_t i = first; !data.empty(); ++i) {
    const Bytes piece = data.first(std::min<size_t>(data.size(), kTierPieceBytes));
    if (checksum64(piece) != header.sums[i]) return false;
    data = data.subspan(piece.size());
  }
  return true;
}

Buffer encode_tier_marker() {
  return Buffer(fmt::format("{{\"kind\":\"thaw-tier\",\"format\":{}}}\n", kMarkerFormat));
}

Result<> check_tier_marker(Bytes object) {
  if (object.size() > kTierMarkerBytes)
    return Error(Code::corrupt, "the tier's marker is too long");
  const Json json = Json::parse(as_text(object), nullptr, false);
  if (!json.is_object() || !json.contains("kind") || json["kind"] != "thaw-tier" ||
      !json.contains("format") || !json["format"].is_number_unsigned()) {
    return Error(Code::corrupt, std::string(kTierMarkerName) + " is no marker of a tier");
  }
  const auto format = json["format"].get<uint64_t>();
  if (format == kMarkerFormat) return {};
  return Error(Code::invalid,
               fmt::format("the tier has format {}, this thaw reads format {}: use another place",
                           format, kMarkerFormat));
}

}  // namespace thaw
