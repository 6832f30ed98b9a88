#include "format/pack.h"

#include <algorithm>

#include "format/limits.h"

namespace thaw {
namespace {

constexpr std::string_view kHeadMagic = "thawpk01";
constexpr std::string_view kFootMagic = "thawpkf1";
constexpr size_t kRecordBytes = 48;
constexpr size_t kTrailerBytes = 48;

void append_record(ByteVector& to, const FrameRecord& record) {
  to.append(record.digest.bytes);
  append_le(to, record.stored_bytes);
  append_le(to, record.content_bytes);
  append_le(to, static_cast<uint8_t>(record.codec));
  append_le(to, static_cast<uint8_t>(record.kind));
  constexpr uint8_t kPadding[6] = {};
  to.append(kPadding);
}

Result<FrameRecord> parse_record(const uint8_t* from) {
  FrameRecord record;
  std::copy_n(from, 32, record.digest.bytes.begin());
  record.stored_bytes = load_le<uint32_t>(from + 32);
  record.content_bytes = load_le<uint32_t>(from + 36);
  if (from[40] > 1 || from[41] > 1)
    return Error(Code::corrupt, "a frame of an unknown codec or kind");
  record.codec = static_cast<Codec>(from[40]);
  record.kind = static_cast<ChunkKind>(from[41]);
  if (!std::all_of(from + 42, from + 48, [](uint8_t byte) { return byte == 0; })) {
    return Error(Code::corrupt, "a frame record's padding is not zero");
  }
  if (record.stored_bytes == 0 || record.stored_bytes > record.content_bytes ||
      record.content_bytes > limits::kChunkBytes ||
      (record.codec == Codec::raw && record.stored_bytes != record.content_bytes)) {
    return Error(Code::corrupt, "a frame record's length is out of bounds");
  }
  return record;
}

}  // namespace

PackBuilder::PackBuilder(size_t expected_bytes) : expected_bytes_(expected_bytes) { begin(); }

void PackBuilder::begin() {
  bytes_.reserve(expected_bytes_);
  bytes_.append(as_bytes(kHeadMagic));
}

uint32_t PackBuilder::add(const FrameRecord& record, Bytes stored) {
  const auto offset = static_cast<uint32_t>(bytes_.size());
  bytes_.append(stored);
  records_.push_back(record);
  return offset;
}

uint64_t pack_object_bytes(uint64_t frames_end, size_t frames) {
  return frames_end + frames * kRecordBytes + kTrailerBytes;
}

Buffer PackBuilder::finish() {
  const size_t records_at = bytes_.size();
  for (const FrameRecord& record : records_) append_record(bytes_, record);
  append_le(bytes_, static_cast<uint32_t>(records_.size()));
  append_le(bytes_, uint32_t{0});
  bytes_.append(sha256(bytes_.view().subspan(records_at)).bytes);
  bytes_.append(as_bytes(kFootMagic));
  Buffer object(std::move(bytes_));
  bytes_ = ByteVector();
  records_.clear();
  begin();
  return object;
}

Result<std::vector<PackFrame>> parse_pack(Bytes object) {
  if (object.size() > limits::kPackBytes) return Error(Code::corrupt, "a pack larger than its cap");
  if (object.size() < kHeadMagic.size() + kTrailerBytes || as_text(object.first(8)) != kHeadMagic ||
      as_text(object.last(8)) != kFootMagic) {
    return Error(Code::corrupt, "not a pack, or cut off");
  }
  const uint8_t* trailer = object.data() + object.size() - kTrailerBytes;
  const auto count = load_le<uint32_t>(trailer);
  const size_t room = object.size() - kHeadMagic.size() - kTrailerBytes;
  if (count == 0 || count > limits::kPackFrames || count * kRecordBytes > room ||
      load_le<uint32_t>(trailer + 4) != 0) {
    return Error(Code::corrupt, "a pack's frame count is out of bounds");
  }
  const size_t records_at = object.size() - kTrailerBytes - count * kRecordBytes;
  const Digest sum = sha256(object.subspan(records_at, count * kRecordBytes + 8));
  if (!std::equal(sum.bytes.begin(), sum.bytes.end(), trailer + 8)) {
    return Error(Code::corrupt, "a pack's footer does not match its digest");
  }
  std::vector<PackFrame> frames;
  frames.reserve(count);
  uint64_t offset = kHeadMagic.size();
  for (uint32_t i = 0; i < count; ++i) {
    THAW_ASSIGN(const FrameRecord record,
                parse_record(object.data() + records_at + i * kRecordBytes));
    frames.push_back({record, static_cast<uint32_t>(offset)});
    offset += record.stored_bytes;
    if (offset > records_at) return Error(Code::corrupt, "a pack's frames overrun its footer");
  }
  if (offset != records_at) return Error(Code::corrupt, "a pack has a gap before its footer");
  return frames;
}

}  // namespace thaw
