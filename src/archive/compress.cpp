#include "archive/compress.h"

#include <fmt/format.h>
#include <libdeflate.h>
#include <zstd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "archive/in_order.h"

namespace thaw::archive {
namespace {

// A member knows nothing of the one before it: at 1 MiB that costs gzip's window of 32 KiB once in
// thirty-two times, about 1% of the size, and a thread has its member done in 15 ms.
constexpr size_t kMemberBytes = 1024 * 1024;
constexpr int kGzipLevel = 6;
constexpr int kGzipMost = 12;
constexpr int kZstdLevel = 3;
constexpr int kZstdMost = 19;  // beyond, a reader needs more memory than 128 MiB

class Plain final : public Compressor {
 public:
  explicit Plain(ByteSink sink) : sink_(std::move(sink)) {}
  Result<> append(Bytes bytes) override { return sink_(bytes); }
  Result<> finish() override { return {}; }

 private:
  const ByteSink sink_;
};

struct FreeDeflate {
  void operator()(libdeflate_compressor* state) const { ::libdeflate_free_compressor(state); }
};

// Every gunzip reads members that follow one another (RFC 1952, 2.2).
class Gzip final : public Compressor {
 public:
  Gzip(const Context& context, int level, unsigned threads, ByteSink sink)
      : level_(level),
        sink_(std::move(sink)),
        members_(context, threads, size_t{2} * std::max(threads, 1U)) {}

  Result<> append(Bytes bytes) override {
    while (!bytes.empty()) {
      if (member_.capacity() == 0) member_.reserve(kMemberBytes);
      const size_t taken = std::min(bytes.size(), kMemberBytes - member_.size());
      member_.append(bytes.first(taken));
      bytes = bytes.subspan(taken);
      if (member_.size() == kMemberBytes) THAW_CHECK(begin_member());
    }
    return {};
  }

  Result<> finish() override {
    // Also when nothing came: an empty stream is one empty member.
    if (!member_.empty() || !begun_) THAW_CHECK(begin_member());
    while (!members_.empty()) THAW_CHECK(give_oldest());
    return {};
  }

 private:
  Result<> begin_member() {
    begun_ = true;
    while (members_.full()) THAW_CHECK(give_oldest());
    members_.begin([this, bytes = Buffer(std::exchange(member_, ByteVector()))](
                       const Context& /*inner*/) { return compress_member(bytes.view()); });
    return {};
  }

  Result<> give_oldest() {
    THAW_ASSIGN(const Buffer member, members_.take());
    return sink_(member.view());
  }

  Result<Buffer> compress_member(Bytes bytes) const {
    const std::unique_ptr<libdeflate_compressor, FreeDeflate> state(
        ::libdeflate_alloc_compressor(level_));
    if (!state) return Error(Code::exhausted, "no memory for libdeflate");
    ByteVector member(::libdeflate_gzip_compress_bound(state.get(), bytes.size()));
    const size_t size = ::libdeflate_gzip_compress(state.get(), bytes.data(), bytes.size(),
                                                   member.data(), member.size());
    if (size == 0) return Error(Code::internal, "libdeflate does not keep its bound");
    member.resize(size);
    return Buffer(std::move(member));
  }

  const int level_;
  const ByteSink sink_;
  ByteVector member_;
  bool begun_ = false;
  InOrder<Buffer> members_;  // last: its threads use what is above
};

// libzstd's own workers: what they make together does not depend on how many they are, but differs
// from what is made without any, so there is always one.
class Zstd final : public Compressor {
 public:
  Zstd(const Context& context, ByteSink sink)
      : context_(context),
        sink_(std::move(sink)),
        state_(::ZSTD_createCCtx(), ::ZSTD_freeCCtx),
        out_(::ZSTD_CStreamOutSize()) {}

  Result<> set_up(int level, unsigned threads) {
    if (!state_) return Error(Code::exhausted, "no memory for zstd");
    const auto set = [&](ZSTD_cParameter what, int value) {
      return ::ZSTD_isError(::ZSTD_CCtx_setParameter(state_.get(), what, value)) == 0;
    };
    const int workers = static_cast<int>(std::clamp(threads, 1U, 64U));
    if (set(ZSTD_c_compressionLevel, level) && set(ZSTD_c_checksumFlag, 1) &&
        set(ZSTD_c_nbWorkers, workers)) {
      return {};
    }
    return Error(Code::internal, "this libzstd has no workers");
  }

  Result<> append(Bytes bytes) override { return feed(bytes, ZSTD_e_continue); }
  Result<> finish() override { return feed({}, ZSTD_e_end); }

 private:
  Result<> feed(Bytes bytes, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    while (true) {
      THAW_CHECK(context_.alive());
      ZSTD_outBuffer out{out_.data(), out_.size(), 0};
      const size_t left = ::ZSTD_compressStream2(state_.get(), &out, &in, directive);
      if (::ZSTD_isError(left) != 0) {
        return Error(Code::internal, fmt::format("zstd: {}", ::ZSTD_getErrorName(left)));
      }
      if (out.pos > 0) THAW_CHECK(sink_(out_.view().first(out.pos)));
      const bool done = directive == ZSTD_e_end ? left == 0 : in.pos == in.size;
      if (done) return {};
    }
  }

  const Context& context_;
  const ByteSink sink_;
  const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> state_;
  ByteVector out_;
};

// Precondition: check_level() passed.
int level_of(Format format, std::optional<int> level) {
  return level.value_or(format == Format::tar_gz ? kGzipLevel : kZstdLevel);
}

}  // namespace

std::string_view name_of(Format format) {
  switch (format) {
    case Format::tar:
      return "tar";
    case Format::tar_gz:
      return "tar.gz";
    case Format::tar_zst:
      return "tar.zst";
  }
  return "";
}

std::optional<Format> parse_format(std::string_view name) {
  for (const Format format : {Format::tar, Format::tar_gz, Format::tar_zst}) {
    if (name == name_of(format)) return format;
  }
  return std::nullopt;
}

std::optional<Format> format_of_name(std::string_view name) {
  if (name.ends_with(".tar.gz") || name.ends_with(".tgz")) return Format::tar_gz;
  if (name.ends_with(".tar.zst") || name.ends_with(".tzst")) return Format::tar_zst;
  if (name.ends_with(".tar")) return Format::tar;
  return std::nullopt;
}

Compression compression_of(Format format) {
  switch (format) {
    case Format::tar:
      return Compression::none;
    case Format::tar_gz:
      return Compression::gzip;
    case Format::tar_zst:
      return Compression::zstd;
  }
  return Compression::none;
}

Result<> check_level(Format format, std::optional<int> level) {
  if (!level) return {};
  if (format == Format::tar) return Error(Code::invalid, "what is not compressed has no level");
  const int most = format == Format::tar_gz ? kGzipMost : kZstdMost;
  if (*level >= 1 && *level <= most) return {};
  return Error(Code::invalid, fmt::format("the level is a number from 1 to {}", most));
}

Result<std::unique_ptr<Compressor>> make_compressor(const Context& context, Format format,
                                                    std::optional<int> level, unsigned threads,
                                                    ByteSink sink) {
  THAW_CHECK(check_level(format, level));
  std::unique_ptr<Compressor> made;
  switch (format) {
    case Format::tar:
      made = std::make_unique<Plain>(std::move(sink));
      break;
    case Format::tar_gz:
      made = std::make_unique<Gzip>(context, level_of(format, level), threads, std::move(sink));
      break;
    case Format::tar_zst: {
      auto zstd = std::make_unique<Zstd>(context, std::move(sink));
      THAW_CHECK(zstd->set_up(level_of(format, level), threads));
      made = std::move(zstd);
      break;
    }
  }
  return made;
}

}  // namespace thaw::archive
