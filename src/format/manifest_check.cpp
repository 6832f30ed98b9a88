#include <algorithm>

#include "format/limits.h"
#include "format/manifest.h"

namespace thaw {
namespace {

Error bad(const char* thing, size_t index, const char* what) {
  return {Code::corrupt, std::string(thing) + " " + std::to_string(index) + " " + what};
}

Result<> check_chunks(const Layout& layout) {
  for (size_t i = 0; i < layout.packs.size(); ++i) {
    if (layout.packs[i].size_bytes > limits::kPackBytes) return bad("pack", i, "is over its cap");
  }
  for (size_t i = 0; i < layout.chunks.size(); ++i) {
    const ChunkPlace& chunk = layout.chunks[i];
    if (chunk.pack >= layout.packs.size()) return bad("chunk", i, "is in no pack");
    if (chunk.content_bytes == 0 || chunk.content_bytes > limits::kChunkBytes ||
        chunk.stored_bytes == 0 || chunk.stored_bytes > chunk.content_bytes) {
      return bad("chunk", i, "has a length out of bounds");
    }
    if (chunk.codec > Codec::zstd || chunk.kind > ChunkKind::bundle) {
      return bad("chunk", i, "is of an unknown codec or kind");
    }
    if (uint64_t{chunk.offset} + chunk.stored_bytes > layout.packs[chunk.pack].size_bytes) {
      return bad("chunk", i, "overruns its pack");
    }
    if (chunk.codec == Codec::raw && chunk.stored_bytes != chunk.content_bytes) {
      return bad("chunk", i, "is raw, but its lengths differ");
    }
  }
  return {};
}

Result<> check_extents_of(const Layout& layout, uint32_t index, const Content& content) {
  uint64_t end = 0;
  const auto extents = layout.extents_of(index);
  for (const Extent& extent : extents) {
    if (extent.length == 0 || extent.file_offset < end) {
      return bad("content", index, "has extents that are empty, overlap or are out of order");
    }
    // No overflow: an offset passed the check against size_bytes of the extent before, or here.
    if (extent.file_offset > content.size_bytes ||
        extent.length > content.size_bytes - extent.file_offset) {
      return bad("content", index, "has an extent past its end");
    }
    end = extent.file_offset + extent.length;
    if (extent.chunk >= layout.chunks.size()) return bad("content", index, "is in no chunk");
    const ChunkPlace& chunk = layout.chunks[extent.chunk];
    if (uint64_t{extent.chunk_offset} + extent.length > chunk.content_bytes) {
      return bad("content", index, "overruns its chunk");
    }
    if (chunk.kind == ChunkKind::bundle &&
        (extents.size() != 1 || extent.length != content.size_bytes ||
         content.size_bytes > limits::kMemberBytes)) {
      return bad("content", index, "is in a bundle, but not whole");
    }
  }
  return {};
}

}  // namespace

Result<> check_layout(const Tree& tree, const Layout& layout) {
  if (layout.packs.size() > limits::kManifestPacks) {
    return Error(Code::exhausted, "a snapshot in more than 1,048,576 packs");
  }
  if (layout.contents.size() != tree.contents.size()) {
    return Error(Code::corrupt, "the layout has not as many contents as the tree");
  }
  THAW_CHECK(check_chunks(layout));
  for (uint32_t i = 0; i < layout.contents.size(); ++i) {
    const ExtentRun& run = layout.contents[i];
    if (uint64_t{run.first} + run.count > layout.extents.size()) {
      return bad("content", i, "has extents that do not exist");
    }
    THAW_CHECK(check_extents_of(layout, i, tree.contents[i]));
  }
  return {};
}

}  // namespace thaw
