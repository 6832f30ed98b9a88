// Decompression of a stream whose compression its first bytes tell.
#pragma once

#include <atomic>
#include <string_view>

#include "archive/block_pipe.h"

namespace thaw::archive {

enum class Compression { none, gzip, zstd, xz };

// "gzip"
std::string_view name_of(Compression compression);
// By its first bytes; six tell.
Compression recognise(Bytes beginning);
inline constexpr size_t kMagicBytes = 6;

// Gives what `supply` holds to `sink`, decompressed, in blocks of 256 KiB at most (those of an
// uncompressed stream stay as they come). Members and frames that follow one another are one
// stream. `found`, which may be null, is set before the first block goes. Memory is bounded: a
// stream that asks for a window or dictionary of more than 128 MiB is Code::exhausted. Errors:
// corrupt (damaged, cut off, or followed by something else), and what the two sides answer.
Result<> decompress(const Context& context, const BlockSupply& supply, const BlockSink& sink,
                    std::atomic<Compression>* found);

}  // namespace thaw::archive
