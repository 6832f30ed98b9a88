#include "archive/decompress.h"

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <string>

namespace thaw::archive {
namespace {

// Larger blocks fall out of the cache of the thread that reads them next.
constexpr size_t kBlockBytes = 256 * 1024;
// What `zstd --ultra -22` and `xz -9` need, and no more. As a power of two for zstd.
constexpr int kWindowLog = 27;
constexpr uint64_t kDictionaryBytes = uint64_t{1} << kWindowLog;
// zlib counts in 32 bits.
constexpr size_t kZlibBytes = 1U << 30;

Error damaged(std::string_view what, std::string_view why) {
  return {Code::corrupt,
          std::string("the ") + std::string(what) + " stream is damaged: " + std::string(why)};
}
Error cut_off(std::string_view what) {
  return {Code::corrupt, std::string("the ") + std::string(what) + " stream is cut off"};
}

// The compressed bytes, with those that were looked at put back in front.
class Input {
 public:
  Input(const Context& context, const BlockSupply& supply) : context_(context), supply_(supply) {}

  // Enough to recognise a compression, or all there is.
  Result<Bytes> peek() {
    ByteVector first;
    while (first.size() < kMagicBytes) {
      THAW_ASSIGN(const Buffer more, supply_(context_));
      if (more.empty()) break;
      if (first.empty() && more.size() >= kMagicBytes) {
        block_ = more;
        return rest();
      }
      first.append(more.view());
    }
    block_ = Buffer(std::move(first));
    return rest();
  }

  // What is not yet used of the block at hand; the next block when that is all. Empty at the end.
  Result<Bytes> next() {
    if (used_ == block_.size()) {
      THAW_CHECK(context_.alive());
      THAW_ASSIGN(block_, supply_(context_));
      used_ = 0;
    }
    return rest();
  }
  void use(size_t bytes) { used_ += bytes; }
  // The rest of the block, without a copy.
  Buffer take() {
    Buffer taken = block_.slice(used_, block_.size() - used_);
    used_ = block_.size();
    return taken;
  }

 private:
  Bytes rest() const { return block_.view().subspan(used_); }

  const Context& context_;
  const BlockSupply& supply_;
  Buffer block_;
  size_t used_ = 0;
};

// Blocks of decompressed bytes, handed on as they fill.
class Output {
 public:
  explicit Output(const BlockSink& sink) : sink_(sink) {}

  MutableBytes room() {
    if (block_.empty()) block_.resize(kBlockBytes);
    return block_.span().subspan(filled_);
  }
  Result<> fill(size_t bytes) {
    filled_ += bytes;
    if (filled_ < block_.size()) return {};
    return flush();
  }
  Result<> flush() {
    if (filled_ == 0) return {};
    block_.resize(filled_);
    filled_ = 0;
    return sink_(Buffer(std::exchange(block_, ByteVector())));
  }

 private:
  const BlockSink& sink_;
  ByteVector block_;
  size_t filled_ = 0;
};

Result<> copy(Input& input, const BlockSink& sink) {
  while (true) {
    THAW_ASSIGN(const Bytes bytes, input.next());
    if (bytes.empty()) return {};
    THAW_CHECK(sink(input.take()));
  }
}

// What follows a gzip member: another one, or zeros up to the end of a tape's block.
enum class After { member, end };
Result<After> after_member(Input& input) {
  bool padded = false;
  while (true) {
    THAW_ASSIGN(const Bytes bytes, input.next());
    if (bytes.empty()) return After::end;
    if (bytes.front() != 0) {
      if (!padded && bytes.front() == 0x1f) return After::member;
      return damaged("gzip", "something else follows it");
    }
    padded = true;
    const auto end = std::find_if(bytes.begin(), bytes.end(), [](uint8_t b) { return b != 0; });
    input.use(static_cast<size_t>(end - bytes.begin()));
  }
}

Result<> gunzip(Input& input, Output& output) {
  constexpr int kGzipOnly = 16 + MAX_WBITS;
  z_stream state{};
  if (::inflateInit2(&state, kGzipOnly) != Z_OK)
    return Error(Code::exhausted, "no memory for zlib");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> owner(&state, ::inflateEnd);
  while (true) {
    THAW_ASSIGN(const Bytes bytes, input.next());
    if (bytes.empty()) return cut_off("gzip");
    const MutableBytes room = output.room();
    const size_t given = std::min(bytes.size(), kZlibBytes);
    state.next_in = const_cast<uint8_t*>(bytes.data());  // zlib only reads it
    state.avail_in = static_cast<uInt>(given);
    state.next_out = room.data();
    state.avail_out = static_cast<uInt>(room.size());
    const int answer = ::inflate(&state, Z_NO_FLUSH);
    input.use(given - state.avail_in);
    if (answer != Z_OK && answer != Z_STREAM_END && answer != Z_BUF_ERROR) {
      return damaged("gzip", state.msg == nullptr ? "zlib gives up" : state.msg);
    }
    THAW_CHECK(output.fill(room.size() - state.avail_out));
    if (answer != Z_STREAM_END) continue;
    THAW_ASSIGN(const After after, after_member(input));
    if (after == After::end) return output.flush();
    if (::inflateReset(&state) != Z_OK) return Error(Code::internal, "zlib cannot begin anew");
  }
}

Result<> unzstd(Input& input, Output& output) {
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> state(::ZSTD_createDCtx(),
                                                                 ::ZSTD_freeDCtx);
  if (!state) return Error(Code::exhausted, "no memory for zstd");
  ::ZSTD_DCtx_setParameter(state.get(), ZSTD_d_windowLogMax, kWindowLog);
  size_t wanted = 0;  // 0: a frame is complete
  bool full = false;  // zstd may hold more than the last block took
  while (true) {
    Bytes bytes;
    if (!full) {
      THAW_ASSIGN(bytes, input.next());
      if (bytes.empty() && wanted != 0) return cut_off("zstd");
      if (bytes.empty()) return output.flush();
    }
    const MutableBytes room = output.room();
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    ZSTD_outBuffer out{room.data(), room.size(), 0};
    wanted = ::ZSTD_decompressStream(state.get(), &out, &in);
    if (::ZSTD_isError(wanted) != 0) {
      const auto code = ::ZSTD_getErrorCode(wanted);
      if (code == ZSTD_error_frameParameter_windowTooLarge) {
        return Error(Code::exhausted,
                     "the zstd stream needs more than 128 MiB of memory (was it "
                     "made with --long?)");
      }
      return damaged("zstd", ::ZSTD_getErrorName(wanted));
    }
    input.use(in.pos);
    full = out.pos == out.size && wanted != 0;
    THAW_CHECK(output.fill(out.pos));
  }
}

Result<> unxz(Input& input, Output& output) {
  lzma_stream state = LZMA_STREAM_INIT;
  if (::lzma_stream_decoder(&state, kDictionaryBytes, LZMA_CONCATENATED) != LZMA_OK) {
    return Error(Code::exhausted, "no memory for xz");
  }
  const std::unique_ptr<lzma_stream, void (*)(lzma_stream*)> owner(&state, ::lzma_end);
  while (true) {
    THAW_ASSIGN(const Bytes bytes, input.next());
    const MutableBytes room = output.room();
    state.next_in = bytes.data();
    state.avail_in = bytes.size();
    state.next_out = room.data();
    state.avail_out = room.size();
    const lzma_ret answer = ::lzma_code(&state, bytes.empty() ? LZMA_FINISH : LZMA_RUN);
    input.use(bytes.size() - state.avail_in);
    THAW_CHECK(output.fill(room.size() - state.avail_out));
    switch (answer) {
      case LZMA_OK:
        break;
      case LZMA_STREAM_END:
        return output.flush();
      case LZMA_MEMLIMIT_ERROR:
        return Error(Code::exhausted, "the xz stream needs more than 128 MiB of memory");
      case LZMA_BUF_ERROR:
        return cut_off("xz");
      default:
        return damaged("xz", "its checks do not match, or its form is wrong");
    }
  }
}

}  // namespace

std::string_view name_of(Compression compression) {
  switch (compression) {
    case Compression::none:
      return "none";
    case Compression::gzip:
      return "gzip";
    case Compression::zstd:
      return "zstd";
    case Compression::xz:
      return "xz";
  }
  return "";
}

Compression recognise(Bytes beginning) {
  const auto begins = [&](std::initializer_list<uint8_t> magic) {
    return beginning.size() >= magic.size() &&
           std::equal(magic.begin(), magic.end(), beginning.begin());
  };
  if (begins({0x1f, 0x8b})) return Compression::gzip;
  if (begins({0x28, 0xb5, 0x2f, 0xfd})) return Compression::zstd;
  // A skippable frame, as pzstd puts in front: 0x184D2A50 to 0x184D2A5F, little-endian.
  if (beginning.size() >= 4 && (beginning[0] & 0xf0) == 0x50 && beginning[1] == 0x2a &&
      beginning[2] == 0x4d && beginning[3] == 0x18) {
    return Compression::zstd;
  }
  if (begins({0xfd, '7', 'z', 'X', 'Z', 0x00})) return Compression::xz;
  return Compression::none;
}

Result<> decompress(const Context& context, const BlockSupply& supply, const BlockSink& sink,
                    std::atomic<Compression>* found) {
  Input input(context, supply);
  THAW_ASSIGN(const Bytes beginning, input.peek());
  const Compression compression = recognise(beginning);
  if (found != nullptr) *found = compression;
  Output output(sink);
  switch (compression) {
    case Compression::none:
      return copy(input, sink);
    case Compression::gzip:
      return gunzip(input, output);
    case Compression::zstd:
      return unzstd(input, output);
    case Compression::xz:
      return unxz(input, output);
  }
  return {};
}

}  // namespace thaw::archive
