// Laying a chunk down: its frame goes into a pack, and the layout learns where.
#pragma once

#include <cstdint>

#include "format/frame.h"
#include "snapshot/layout_builder.h"
#include "snapshot/pack_writer.h"

namespace thaw {

// For a chunk that was claimed or added, by whom it is to be laid down. Thread-safe but for the
// encoder. Precondition: 1 to limits::kChunkBytes bytes of content.
Result<> lay_chunk(LayoutBuilder& layout, PackWriter& packs, FrameEncoder& encoder, uint32_t chunk,
                   Bytes content, const Digest& digest, ChunkKind kind);

// Claims a whole chunk, and lays it down where that is the claimant's to do. Answers its number.
Result<uint32_t> lay_whole_chunk(LayoutBuilder& layout, PackWriter& packs, FrameEncoder& encoder,
                                 Bytes content, const Digest& digest);

}  // namespace thaw
