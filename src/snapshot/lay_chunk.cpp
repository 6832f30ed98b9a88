#include "snapshot/lay_chunk.h"

namespace thaw {

Result<> lay_chunk(LayoutBuilder& layout, PackWriter& packs, FrameEncoder& encoder, uint32_t chunk,
                   Bytes content, const Digest& digest, ChunkKind kind) {
  THAW_ASSIGN(const FrameEncoder::Encoded frame, encoder.encode(content));
  ChunkPlace place;
  place.digest = digest;
  place.stored_bytes = static_cast<uint32_t>(frame.bytes.size());
  place.content_bytes = static_cast<uint32_t>(content.size());
  place.codec = frame.codec;
  place.kind = kind;
  THAW_ASSIGN(
      const PackWriter::Place at,
      packs.add({digest, place.stored_bytes, place.content_bytes, place.codec, kind}, frame.bytes));
  place.pack = at.pack;
  place.offset = at.offset;
  layout.place_chunk(chunk, place);
  return {};
}

Result<uint32_t> lay_whole_chunk(LayoutBuilder& layout, PackWriter& packs, FrameEncoder& encoder,
                                 Bytes content, const Digest& digest) {
  const auto claim = layout.claim_whole_chunk(digest);
  if (claim.lay_down) {
    THAW_CHECK(lay_chunk(layout, packs, encoder, claim.chunk, content, digest, ChunkKind::whole));
  }
  return claim.chunk;
}

}  // namespace thaw
