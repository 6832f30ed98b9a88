// Compression of a stream by several threads, with an output that does not depend on how many.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "archive/decompress.h"
#include "base/bytes.h"
#include "base/context.h"

namespace thaw::archive {

// Takes bytes that follow one another.
using ByteSink = std::function<Result<>(Bytes)>;

enum class Format { tar, tar_gz, tar_zst };

std::string_view name_of(Format format);  // "tar.gz"
std::optional<Format> parse_format(std::string_view name);
// By the end of an archive's name: ".tgz", ".tar.gz", ".tar.zst", ".tzst", ".tar".
std::optional<Format> format_of_name(std::string_view name);
Compression compression_of(Format format);
// Code::invalid for a level that the format does not have.
Result<> check_level(Format format, std::optional<int> level);

// One thread at a time. What comes out is a function of what goes in, the format and the level.
class Compressor {
 public:
  virtual ~Compressor() = default;
  virtual Result<> append(Bytes bytes) = 0;
  // Everything has gone to the sink once this answers.
  virtual Result<> finish() = 0;
};

// `level`: 1 to 12 for gzip (libdeflate's), 1 to 19 for zstd; empty: 6 and 3. Called on the
// caller's thread, the sink gets gzip members of 1 MiB of input, or what zstd's workers have ready.
// In memory are a few MiB for each thread. The context outlives it.
Result<std::unique_ptr<Compressor>> make_compressor(const Context& context, Format format,
                                                    std::optional<int> level, unsigned threads,
                                                    ByteSink sink);

}  // namespace thaw::archive
