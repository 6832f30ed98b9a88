#include "format/frame.h"

#include <zstd.h>

#include <cstring>
#include <string>

#include "format/limits.h"

namespace thaw {
namespace {

Error corrupt(std::string what) { return {Code::corrupt, std::move(what)}; }

// Whether these bytes are exactly one RFC 8878 frame that says how much it holds. ZSTD_decompress
// itself takes more: several frames, skippable ones, and formats from before the RFC.
bool is_one_frame(Bytes stored, size_t content_bytes) {
  return stored.size() >= 4 && load_le<uint32_t>(stored.data()) == ZSTD_MAGICNUMBER &&
         ZSTD_getFrameContentSize(stored.data(), stored.size()) == content_bytes &&
         ZSTD_findFrameCompressedSize(stored.data(), stored.size()) == stored.size();
}

}  // namespace

struct FrameEncoder::State {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ByteVector out;
  ~State() { ZSTD_freeCCtx(context); }
};

FrameEncoder::FrameEncoder(int level, FrameTuning tuning) : state_(std::make_unique<State>()) {
  ZSTD_CCtx* context = state_->context;
  if (context == nullptr) return;  // encode() says so
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
  if (level != ZSTD_CLEVEL_DEFAULT) return;
  // The default's tables take 768 KiB, more than the second-level cache of many cores. At 288 KiB,
  // with the small one in the first level, it is 10% faster on chunks of 4 MiB and stores 1.2% more
  // (docs/benchmarks.md). Images, whose frames may be 1.10 times what zstd itself makes of them,
  // are compressed with half of that (docs/decisions/0008).
  ZSTD_CCtx_setParameter(context, ZSTD_c_hashLog, tuning == FrameTuning::size ? 16 : 15);
  ZSTD_CCtx_setParameter(context, ZSTD_c_chainLog, 13);
}
FrameEncoder::~FrameEncoder() = default;
FrameEncoder::FrameEncoder(FrameEncoder&&) noexcept = default;

Result<FrameEncoder::Encoded> FrameEncoder::encode(Bytes content) {
  if (content.empty() || content.size() > limits::kChunkBytes) {
    return Error(Code::internal, "a chunk of " + std::to_string(content.size()) + " bytes");
  }
  if (state_->context == nullptr) return Error(Code::exhausted, "no memory for zstd");
  state_->out.clear();
  state_->out.resize(ZSTD_compressBound(content.size()));
  const size_t stored = ZSTD_compress2(state_->context, state_->out.data(), state_->out.size(),
                                       content.data(), content.size());
  if (ZSTD_isError(stored)) {
    return Error(Code::internal, std::string("zstd: ") + ZSTD_getErrorName(stored));
  }
  if (stored * 32 > content.size() * 31) return Encoded{Codec::raw, content};
  return Encoded{Codec::zstd, state_->out.view().first(stored)};
}

struct FrameDecoder::State {
  ZSTD_DCtx* context = ZSTD_createDCtx();
  ByteVector out;
  ~State() { ZSTD_freeDCtx(context); }
};

FrameDecoder::FrameDecoder() : state_(std::make_unique<State>()) {}
FrameDecoder::~FrameDecoder() = default;
FrameDecoder::FrameDecoder(FrameDecoder&&) noexcept = default;

namespace {

Result<> check_frame(Codec codec, Bytes stored, size_t content_bytes) {
  if (content_bytes == 0 || content_bytes > limits::kChunkBytes) {
    return corrupt("a frame says that it holds " + std::to_string(content_bytes) + " bytes");
  }
  if (codec == Codec::raw) {
    if (stored.size() == content_bytes) return {};
    return corrupt("a raw frame's length is not its content's");
  }
  if (codec != Codec::zstd) return corrupt("a frame of an unknown codec");
  if (is_one_frame(stored, content_bytes)) return {};
  return corrupt("a frame is cut off, or is not one zstd frame of the length it should hold");
}

}  // namespace

Result<Bytes> FrameDecoder::decode(Codec codec, Bytes stored, size_t content_bytes) {
  THAW_CHECK(check_frame(codec, stored, content_bytes));
  if (codec == Codec::raw) return stored;
  state_->out.clear();
  state_->out.resize(content_bytes);
  THAW_CHECK(decode_into(codec, stored, state_->out.span()));
  return state_->out.view();
}

Result<> FrameDecoder::decode_into(Codec codec, Bytes stored, MutableBytes content) {
  THAW_CHECK(check_frame(codec, stored, content.size()));
  if (codec == Codec::raw) {
    std::memcpy(content.data(), stored.data(), stored.size());
    return {};
  }
  if (state_->context == nullptr) return Error(Code::exhausted, "no memory for zstd");
  const size_t n = ZSTD_decompressDCtx(state_->context, content.data(), content.size(),
                                       stored.data(), stored.size());
  if (ZSTD_isError(n)) {
    return corrupt(std::string("a frame does not decompress: ") + ZSTD_getErrorName(n));
  }
  if (n != content.size()) return corrupt("a frame holds fewer bytes than it says");
  return {};
}

}  // namespace thaw
