// Cutting of anything, with sizes taken from the first bytes: chunks joined are the input, and a
// stream that is offered max_bytes at a time is cut as the whole is.
#include <algorithm>

#include "check.h"
#include "format/chunker.h"
#include "taker.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  thaw::Taker input({data, size});
  thaw::ChunkerSizes sizes;
  sizes.min_bytes = 1 + input.below(64);
  sizes.normal_bytes = sizes.min_bytes + input.below(256);
  sizes.max_bytes = sizes.normal_bytes + input.below(1024);
  // A few bytes go a long way, so that small inputs have several chunks.
  const uint32_t repeats = 1 + input.below(16);
  thaw::ByteVector content;
  for (uint32_t i = 0; i < repeats; ++i) content.append(input.rest());

  size_t at = 0;
  while (at < content.size()) {
    const thaw::Bytes rest = content.view().subspan(at);
    const size_t length = thaw::first_chunk_length(rest, sizes);
    FUZZ_CHECK(length > 0 && length <= rest.size() && length <= sizes.max_bytes);
    FUZZ_CHECK(length > sizes.min_bytes || length == rest.size() ||
               sizes.min_bytes == sizes.max_bytes);
    const thaw::Bytes offered = rest.first(std::min(sizes.max_bytes, rest.size()));
    FUZZ_CHECK(thaw::first_chunk_length(offered, sizes) == length);
    // Nor does what lies behind the cut matter, once it was found.
    if (length > sizes.min_bytes && length < std::min(sizes.max_bytes, rest.size())) {
      FUZZ_CHECK(thaw::first_chunk_length(rest.first(length), sizes) == length);
    }
    at += length;
  }
  FUZZ_CHECK(at == content.size());
  return 0;
}
