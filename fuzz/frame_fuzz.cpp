// Frames from anywhere. The first byte of the input chooses the lane:
//   0  codec and content length (in 4 bytes), then the frame
//   1  a content to be encoded
//   2  as 1, then a change at a chosen place
#include <algorithm>

#include "check.h"
#include "format/frame.h"
#include "format/limits.h"
#include "taker.h"

namespace thaw {
namespace {

void fuzz_frame(Taker from) {
  static FrameDecoder decoder;
  const auto codec = static_cast<Codec>(from.byte() % 3);
  // More than the cap now and then, but mostly what makes sense.
  const size_t content_bytes = from.u32() >> 4 * (from.byte() % 8);
  const auto content = decoder.decode(codec, from.rest(), content_bytes);
  if (!content) {
    FUZZ_CHECK(content.error().code() == Code::corrupt);
    return;
  }
  FUZZ_CHECK(content->size() == content_bytes && content_bytes <= limits::kChunkBytes);
  // All of it is there to be read.
  sha256(*content);
}

void fuzz_content(Bytes content, Taker change) {
  static FrameEncoder encoder;
  static FrameDecoder decoder;
  const auto encoded = encoder.encode(content);
  if (content.empty() || content.size() > limits::kChunkBytes) {
    FUZZ_CHECK(!encoded);
    return;
  }
  FUZZ_CHECK(encoded.ok());
  const size_t stored_bytes = encoded->bytes.size();
  FUZZ_CHECK(encoded->codec == Codec::raw ? stored_bytes == content.size()
                                          : stored_bytes * 32 <= content.size() * 31);
  const auto decoded = decoder.decode(encoded->codec, encoded->bytes, content.size());
  FUZZ_CHECK(decoded.ok());
  FUZZ_CHECK(std::equal(decoded->begin(), decoded->end(), content.begin(), content.end()));

  ByteVector broken;
  broken.append(encoded->bytes);
  broken.data()[change.below(static_cast<uint32_t>(stored_bytes))] ^= change.byte();
  broken.resize(broken.size() - change.byte() % broken.size());
  const auto other = decoder.decode(encoded->codec, broken.view(), content.size());
  FUZZ_CHECK(!other || other->size() == content.size());
}

}  // namespace
}  // namespace thaw

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  thaw::Taker input({data, size});
  switch (input.byte() % 3) {
    case 0:
      thaw::fuzz_frame(input);
      break;
    case 1:
      thaw::fuzz_content(input.rest(), thaw::Taker({}));
      break;
    default: {
      thaw::Taker change(input.bytes(6));
      thaw::fuzz_content(input.rest(), change);
    }
  }
  return 0;
}
