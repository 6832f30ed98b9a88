// Manifests: a snapshot's tree and where each of its bytes lies. See docs/format.md, "Manifest".
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "base/random.h"
#include "base/result.h"
#include "format/frame.h"
#include "format/tree.h"

namespace thaw {

struct PackRef {
  RandomId id;
  uint64_t size_bytes = 0;         // of the object
  uint64_t live_stored_bytes = 0;  // frames that this snapshot uses; the encoder computes it
};

// A chunk and where its frame lies.
struct ChunkPlace {
  Digest digest;
  uint32_t pack = 0;  // index into Layout::packs
  uint32_t offset = 0;
  uint32_t stored_bytes = 0;
  uint32_t content_bytes = 0;
  Codec codec = Codec::raw;
  ChunkKind kind = ChunkKind::whole;
};

// A run of a file that is a part of a chunk. What no extent covers is zeros.
struct Extent {
  uint64_t file_offset = 0;
  uint32_t chunk = 0;  // index into Layout::chunks
  uint32_t chunk_offset = 0;
  uint32_t length = 0;
};

// The extents of one content: a run of Layout::extents.
struct ExtentRun {
  uint32_t first = 0;
  uint32_t count = 0;
};

// Where the contents of a tree lie: contents[i] of the layout belongs to contents[i] of the tree.
struct Layout {
  std::vector<PackRef> packs;
  std::vector<ChunkPlace> chunks;
  std::vector<Extent> extents;
  std::vector<ExtentRun> contents;

  std::span<const Extent> extents_of(uint32_t content) const {
    const ExtentRun& run = contents[content];
    return std::span(extents).subspan(run.first, run.count);
  }
};

// A plain value; thread-safe once built.
struct Manifest {
  Tree tree;
  Layout layout;
};

// Checks the layout against the tree by the rules of docs/format.md. Precondition: check_tree
// passed.
Result<> check_layout(const Tree& tree, const Layout& layout);

// The object's bytes. Checks what the reader checks, so that nothing unreadable is ever published.
// `threads` bounds the threads that compress. Sets live_stored_bytes of the manifest's packs.
Result<ByteVector> encode_manifest(const Context& context, Manifest& manifest, unsigned threads);

// Verifies before use: magic, head digest, sizes, FlatBuffers structure, then every rule of the
// format. Code::corrupt otherwise. Memory and time stay in proportion to the object; see the caps.
Result<Manifest> decode_manifest(Bytes object);

// The packs alone, from the object's first bytes. Where those end before the head does, the answer
// is Code::corrupt and `needed_bytes` says how many to offer (32 first, then the whole head).
Result<std::vector<PackRef>> decode_manifest_head(Bytes prefix, uint64_t* needed_bytes);

}  // namespace thaw
