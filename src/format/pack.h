// Packs: immutable objects of many frames. See docs/format.md, "Pack".
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"
#include "base/result.h"
#include "format/digest.h"
#include "format/frame.h"

namespace thaw {

struct FrameRecord {
  Digest digest;
  uint32_t stored_bytes = 0;
  uint32_t content_bytes = 0;
  Codec codec = Codec::raw;
  ChunkKind kind = ChunkKind::whole;
};

// Collects frames in memory until the pack is large enough. One thread at a time.
class PackBuilder {
 public:
  // `expected_bytes`: the size that packs are likely to reach, to reserve.
  explicit PackBuilder(size_t expected_bytes = 0);
  // The frame's offset in the pack. Preconditions: stored.size() == record.stored_bytes, at most
  // record.content_bytes; pack_object_bytes() of what results is at most limits::kPackBytes.
  uint32_t add(const FrameRecord& record, Bytes stored);
  size_t size_bytes() const { return bytes_.size(); }
  bool empty() const { return records_.empty(); }
  // The whole object, footer included. The builder is empty afterwards. Precondition: !empty().
  Buffer finish();

 private:
  void begin();

  const size_t expected_bytes_;
  ByteVector bytes_;
  std::vector<FrameRecord> records_;
};

// The size of the object whose frames end at `frames_end` and are `frames` in number.
uint64_t pack_object_bytes(uint64_t frames_end, size_t frames);

struct PackFrame {
  FrameRecord record;
  uint32_t offset = 0;
};

// The frames that a pack's footer names, or Code::corrupt. Checks the whole structure, not the
// frames' content.
Result<std::vector<PackFrame>> parse_pack(Bytes object);

}  // namespace thaw
