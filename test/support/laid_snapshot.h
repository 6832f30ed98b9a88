// Snapshots laid down in a store by hand, so that a test knows where each chunk lies.
#pragma once

#include <sys/stat.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "format/manifest.h"
#include "format/pack.h"
#include "object/store.h"
#include "snapshot/catalog.h"
#include "support/sample_manifest.h"

namespace thaw::test {

// Chunks go into one pack until end_pack(). Aborts when the store fails.
class LaidSnapshot {
 public:
  explicit LaidSnapshot(ObjectStore& store) : store_(store) { manifest_.tree = empty_tree(); }

  // The chunk's number.
  uint32_t add_chunk(Bytes content, ChunkKind kind = ChunkKind::whole) {
    ChunkPlace place;
    place.digest = content_digest(content);
    place.pack = static_cast<uint32_t>(manifest_.layout.packs.size());
    place.kind = kind;
    place.content_bytes = static_cast<uint32_t>(content.size());
    FrameEncoder encoder;
    const auto frame = encoder.encode(content);
    if (!frame) std::abort();
    place.codec = frame->codec;
    place.stored_bytes = static_cast<uint32_t>(frame->bytes.size());
    place.offset = pack_.add(
        {place.digest, place.stored_bytes, place.content_bytes, place.codec, kind}, frame->bytes);
    manifest_.layout.chunks.push_back(place);
    return static_cast<uint32_t>(manifest_.layout.chunks.size() - 1);
  }

  void end_pack() {
    PackRef pack;
    pack.id = RandomId::fresh();
    const Buffer bytes = pack_.finish();
    pack.size_bytes = bytes.size();
    manifest_.layout.packs.push_back(pack);
    const Context context;
    if (!store_.put(context, pack_object(pack.id), bytes, PutMode::create)) std::abort();
  }

  // A file in the root, whose bytes are `content`; the caller keeps the names ascending.
  void add_file(std::string_view name, Bytes content, const std::vector<Extent>& extents) {
    Layout& layout = manifest_.layout;
    layout.contents.push_back(
        {static_cast<uint32_t>(layout.extents.size()), static_cast<uint32_t>(extents.size())});
    layout.extents.insert(layout.extents.end(), extents.begin(), extents.end());
    Tree& tree = manifest_.tree;
    tree.contents.push_back({content_digest(content), content.size()});
    add_node(tree, 0, name, S_IFREG | 0644, static_cast<uint32_t>(tree.contents.size() - 1));
  }

  // A file of `chunk_bytes` a chunk, all in the pack under way.
  void add_chunked_file(std::string_view name, Bytes content, size_t chunk_bytes) {
    std::vector<Extent> extents;
    for (size_t at = 0; at < content.size(); at += chunk_bytes) {
      const Bytes part = content.subspan(at, std::min(chunk_bytes, content.size() - at));
      extents.push_back({at, add_chunk(part), 0, static_cast<uint32_t>(part.size())});
    }
    add_file(name, content, extents);
  }

  Manifest finish() {
    if (!pack_.empty()) end_pack();
    if (!check_tree(manifest_.tree) || !check_layout(manifest_.tree, manifest_.layout)) {
      std::abort();
    }
    return manifest_;
  }

 private:
  ObjectStore& store_;
  PackBuilder pack_;
  Manifest manifest_;
};

}  // namespace thaw::test
