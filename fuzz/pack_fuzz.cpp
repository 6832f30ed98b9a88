// Packs from anywhere. The first byte of the input chooses the lane:
//   0  the rest is an object
//   1  the rest is an object whose magics and footer digest are put right first
//   2  the rest is a recipe for frames to be packed
#include <algorithm>
#include <vector>

#include "check.h"
#include "format/limits.h"
#include "format/pack.h"
#include "taker.h"

namespace thaw {
namespace {

// A pack that parses is what the builder makes of its frames, byte for byte.
void fuzz_object(Bytes object) {
  const auto frames = parse_pack(object);
  if (!frames) {
    FUZZ_CHECK(frames.error().code() == Code::corrupt);
    return;
  }
  PackBuilder builder;
  for (const PackFrame& frame : *frames) {
    const Bytes stored = object.subspan(frame.offset, frame.record.stored_bytes);
    FUZZ_CHECK(builder.add(frame.record, stored) == frame.offset);
  }
  FUZZ_CHECK(pack_object_bytes(builder.size_bytes(), frames->size()) == object.size());
  const Buffer again = builder.finish();
  FUZZ_CHECK(std::equal(again.view().begin(), again.view().end(), object.begin(), object.end()));
}

void fuzz_sealed(Bytes input) {
  ByteVector object;
  object.append(input);
  if (object.size() >= 56) {
    uint8_t* end = object.data() + object.size();
    std::copy_n("thawpk01", 8, object.data());
    std::copy_n("thawpkf1", 8, end - 8);
    const uint64_t footer = load_le<uint32_t>(end - 48) * uint64_t{48} + 8;
    if (footer + 40 <= object.size()) {
      const Digest sum = sha256({end - 40 - footer, footer});
      std::copy(sum.bytes.begin(), sum.bytes.end(), end - 40);
    }
  }
  fuzz_object(object.view());
}

void fuzz_recipe(Taker from) {
  PackBuilder builder;
  for (uint32_t i = from.below(20) + 1; i > 0; --i) {
    const std::string content = from.text(1 + from.below(100));
    const Bytes stored = as_bytes(content.empty() ? "x" : std::string_view(content));
    const auto size = static_cast<uint32_t>(stored.size());
    const uint32_t more = from.byte() % 4;
    builder.add({sha256(stored), size, size + more, more == 0 ? Codec::raw : Codec::zstd,
                 static_cast<ChunkKind>(from.byte() % 2)},
                stored);
  }
  const Buffer object = builder.finish();
  FUZZ_CHECK(parse_pack(object.view()).ok());
  fuzz_object(object.view());
}

}  // namespace
}  // namespace thaw

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  thaw::Taker input({data, size});
  switch (input.byte() % 3) {
    case 0:
      thaw::fuzz_object(input.rest());
      break;
    case 1:
      thaw::fuzz_sealed(input.rest());
      break;
    default:
      thaw::fuzz_recipe(input);
      break;
  }
  return 0;
}
