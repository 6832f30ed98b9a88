// Frames: a chunk's content as stored, zstd (RFC 8878) or raw where that does not shrink.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "format/digest.h"

namespace thaw {

enum class Codec : uint8_t { raw = 0, zstd = 1 };

// What a chunk's digest is over; see docs/format.md, "Digests".
enum class ChunkKind : uint8_t { whole = 0, bundle = 1 };

// What the default level's parameters are tuned for. Both are zstd's level 3 with smaller tables.
enum class FrameTuning {
  size,   // what many small files make: 10% faster than zstd's own, 1.2% more bytes
  speed,  // images: another 11% faster, another 1.5% more bytes
};

// Compresses one chunk at a time with contexts that it keeps. One thread at a time.
class FrameEncoder {
 public:
  explicit FrameEncoder(int level = 3, FrameTuning tuning = FrameTuning::size);
  ~FrameEncoder();
  FrameEncoder(FrameEncoder&&) noexcept;

  struct Encoded {
    Codec codec;
    Bytes bytes;  // valid until the next call; aliases `content` when raw
  };
  // Precondition: 1 to limits::kChunkBytes bytes of content.
  Result<Encoded> encode(Bytes content);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Decompresses frames with a context that it keeps. One thread at a time.
class FrameDecoder {
 public:
  FrameDecoder();
  ~FrameDecoder();
  FrameDecoder(FrameDecoder&&) noexcept;

  // The content, exactly `content_bytes` of it, or Code::corrupt. The view is valid until the next
  // call, and no longer than `stored`. It is not verified against any digest.
  Result<Bytes> decode(Codec codec, Bytes stored, size_t content_bytes);
  // The same into memory of the caller's, as long as the content should be.
  Result<> decode_into(Codec codec, Bytes stored, MutableBytes content);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace thaw
