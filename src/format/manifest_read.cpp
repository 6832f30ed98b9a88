#include <algorithm>

#include "format/limits.h"
#include "format/manifest_body.h"
#include "format/manifest_generated.h"

namespace thaw {
namespace {

Digest from_fb(const fb::Digest& digest) {
  Digest value;
  std::copy_n(digest.bytes()->Data(), 32, value.bytes.begin());
  return value;
}

// The columns of a FlatBuffers table, each as long as another one says; an absent one is empty.
template <class T>
size_t length_of(const flatbuffers::Vector<T>* column) {
  return column == nullptr ? 0 : column->size();
}

Error malformed(const char* what) {
  return {Code::corrupt, std::string("a manifest whose ") + what + " do not fit together"};
}

// FlatBuffers' verifier checks the alignment of a column's length alone, of 4 bytes.
template <class T>
bool is_aligned(const flatbuffers::Vector<T>* column) {
  // An empty column may lie anywhere.
  return length_of(column) == 0 || reinterpret_cast<uintptr_t>(column->data()) % alignof(T) == 0;
}

// What may still be copied out of a body. Many offsets of a hostile one may lead to the same long
// string; those of a writer never do, so that all of them hold no more than the body's length.
class CopyBudget {
 public:
  explicit CopyBudget(size_t body_bytes) : left_(body_bytes) {}
  bool take(size_t bytes) {
    if (bytes > left_) return false;
    left_ -= bytes;
    return true;
  }

 private:
  size_t left_;
};

// What each takes in the buffer at least, apart from its bytes.
constexpr size_t kTargetBytes = 8;     // offset, length
constexpr size_t kXattrSetBytes = 16;  // offset, table, length
constexpr size_t kXattrBytes = 24;     // offset, table, two lengths

Result<> read_xattrs(const fb::Manifest& from, CopyBudget& budget, Tree& tree) {
  for (size_t i = 0; i < length_of(from.xattr_sets()); ++i) {
    const auto* xattrs = from.xattr_sets()->Get(static_cast<uint32_t>(i))->xattrs();
    if (!budget.take(kXattrSetBytes)) return malformed("attributes");
    XattrSet set;
    for (size_t j = 0; j < length_of(xattrs); ++j) {
      const auto* xattr = xattrs->Get(static_cast<uint32_t>(j));
      if (xattr->name() == nullptr ||
          !budget.take(kXattrBytes + xattr->name()->size() + length_of(xattr->value()))) {
        return malformed("attributes");
      }
      std::string value;
      if (xattr->value() != nullptr) {
        value.assign(reinterpret_cast<const char*>(xattr->value()->data()), xattr->value()->size());
      }
      set.push_back({xattr->name()->str(), std::move(value)});
    }
    tree.xattr_sets.push_back(std::move(set));
  }
  uint32_t least = 0;
  for (size_t i = 0; i < length_of(from.xattr_refs()); ++i) {
    const auto* ref = from.xattr_refs()->Get(static_cast<uint32_t>(i));
    if (ref->node() < least || ref->node() >= tree.nodes.size() || ref->value() == kNone) {
      return malformed("attributes");
    }
    least = ref->node() + 1;
    tree.nodes[ref->node()].xattrs = ref->value();
  }
  return {};
}

Result<> read_nodes(const fb::Manifest& from, Tree& tree) {
  const size_t count = length_of(from.parents());
  if (count > limits::kNodes || length_of(from.name_lengths()) != count ||
      length_of(from.modes()) != count || length_of(from.owner_indices()) != count ||
      length_of(from.mtimes_ns()) != count || !is_aligned(from.mtimes_ns()) ||
      length_of(from.owners()) > limits::kOwners) {
    return malformed("nodes");
  }
  if (length_of(from.names()) > 0) {
    tree.names.assign(reinterpret_cast<const char*>(from.names()->data()), from.names()->size());
  }
  tree.nodes.resize(count);
  uint64_t name_offset = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Node& node = tree.nodes[i];
    node.parent = from.parents()->Get(i);
    node.name_offset = static_cast<uint32_t>(name_offset);
    node.name_length = from.name_lengths()->Get(i);
    name_offset += node.name_length;
    if (name_offset > tree.names.size()) return malformed("names");
    node.mode = from.modes()->Get(i);
    const uint16_t owner = from.owner_indices()->Get(i);
    if (owner >= length_of(from.owners())) return malformed("owners");
    node.owner = {from.owners()->Get(owner)->uid(), from.owners()->Get(owner)->gid()};
    node.mtime_ns = from.mtimes_ns()->Get(i);
  }
  if (name_offset != tree.names.size()) return malformed("names");
  uint32_t least = 0;
  for (size_t i = 0; i < length_of(from.links()); ++i) {
    const auto* link = from.links()->Get(static_cast<uint32_t>(i));
    if (link->node() < least || link->node() >= count || link->value() == kNone) {
      return malformed("hard links");
    }
    least = link->node() + 1;
    tree.nodes[link->node()].link_to = link->value();
  }
  return {};
}

// Gives each node its payload: the columns list them in node order.
Result<> read_payloads(const fb::Manifest& from, CopyBudget& budget, Tree& tree) {
  uint32_t files = 0;
  uint32_t targets = 0;
  uint32_t devices = 0;
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    Node& node = tree.nodes[i];
    if (node.is_link()) continue;
    if (node.is_file()) {
      if (files >= length_of(from.file_contents())) return malformed("files");
      node.payload = from.file_contents()->Get(files++);
    } else if (node.is_symlink()) {
      if (targets >= length_of(from.targets())) return malformed("symbolic links");
      const auto* target = from.targets()->Get(targets);
      if (!budget.take(kTargetBytes + target->size())) return malformed("symbolic links");
      tree.targets.push_back(target->str());
      node.payload = targets++;
    } else if (node.is_device()) {
      if (devices >= length_of(from.devices())) return malformed("devices");
      const auto* device = from.devices()->Get(devices);
      if (device->node() != i) return malformed("devices");
      node.payload = devices++;
      tree.devices.push_back({device->major(), device->minor()});
    }
  }
  if (files != length_of(from.file_contents()) || targets != length_of(from.targets()) ||
      devices != length_of(from.devices())) {
    return malformed("payloads");
  }
  return {};
}

Result<> read_layout(const fb::Manifest& from, Manifest& manifest) {
  const size_t contents = length_of(from.content_digests());
  const size_t extents = length_of(from.extent_file_offsets());
  if (length_of(from.content_sizes()) != contents ||
      length_of(from.content_extents()) != contents || length_of(from.extent_chunks()) != extents ||
      length_of(from.extent_chunk_offsets()) != extents ||
      length_of(from.extent_lengths()) != extents || !is_aligned(from.content_sizes()) ||
      !is_aligned(from.extent_file_offsets())) {
    return malformed("contents");
  }
  manifest.tree.contents.reserve(contents);
  manifest.layout.contents.reserve(contents);
  uint64_t first = 0;
  for (uint32_t i = 0; i < contents; ++i) {
    manifest.tree.contents.push_back(
        {from_fb(*from.content_digests()->Get(i)), from.content_sizes()->Get(i)});
    const uint32_t count = from.content_extents()->Get(i);
    manifest.layout.contents.push_back({static_cast<uint32_t>(first), count});
    first += count;
    if (first > extents) return malformed("extents");
  }
  if (first != extents) return malformed("extents");
  manifest.layout.extents.reserve(extents);
  for (uint32_t i = 0; i < extents; ++i) {
    manifest.layout.extents.push_back(
        {from.extent_file_offsets()->Get(i), from.extent_chunks()->Get(i),
         from.extent_chunk_offsets()->Get(i), from.extent_lengths()->Get(i)});
  }
  return {};
}

Result<> read_chunks(const fb::Manifest& from, Layout& layout) {
  const size_t count = length_of(from.chunk_digests());
  if (length_of(from.chunk_packs()) != count || length_of(from.chunk_offsets()) != count ||
      length_of(from.chunk_stored()) != count || length_of(from.chunk_sizes()) != count ||
      length_of(from.chunk_codecs()) != count || length_of(from.chunk_kinds()) != count) {
    return malformed("chunks");
  }
  layout.chunks.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    ChunkPlace chunk;
    chunk.digest = from_fb(*from.chunk_digests()->Get(i));
    chunk.pack = from.chunk_packs()->Get(i);
    chunk.offset = from.chunk_offsets()->Get(i);
    chunk.stored_bytes = from.chunk_stored()->Get(i);
    chunk.content_bytes = from.chunk_sizes()->Get(i);
    chunk.codec = static_cast<Codec>(from.chunk_codecs()->Get(i));
    chunk.kind = static_cast<ChunkKind>(from.chunk_kinds()->Get(i));
    layout.chunks.push_back(chunk);
  }
  return {};
}

}  // namespace

Result<> decode_manifest_body(Bytes body, Manifest& manifest) {
  // All tables but the manifest itself are attribute sets and their attributes.
  flatbuffers::Verifier verifier(body.data(), body.size(), 4, limits::kXattrTables + 1);
  if (!verifier.VerifyBuffer<fb::Manifest>(nullptr)) {
    return Error(Code::corrupt, "a manifest's body is not well-formed");
  }
  const fb::Manifest& from = *flatbuffers::GetRoot<fb::Manifest>(body.data());
  THAW_CHECK(read_nodes(from, manifest.tree));
  CopyBudget budget(body.size());
  THAW_CHECK(read_payloads(from, budget, manifest.tree));
  THAW_CHECK(read_xattrs(from, budget, manifest.tree));
  THAW_CHECK(read_layout(from, manifest));
  THAW_CHECK(read_chunks(from, manifest.layout));
  return {};
}

}  // namespace thaw
