// Manifests made by hand, column by column, so that they may break any rule that the encoder keeps.
#pragma once

#include <zstd.h>

#include <string>
#include <vector>

#include "format/manifest.h"
#include "format/manifest_generated.h"

namespace thaw::test {

// The columns of a body as they are to be written.
struct CraftedBody {
  std::vector<uint32_t> parents;
  std::vector<uint8_t> name_lengths;
  std::vector<uint8_t> names;
  std::vector<uint16_t> modes;
  std::vector<uint16_t> owner_indices;
  std::vector<int64_t> mtimes_ns;
  std::vector<fb::Owner> owners;
  std::vector<fb::NodeRef> links;
  std::vector<fb::NodeRef> xattr_refs;
  std::vector<std::string> targets;
  std::vector<fb::Device> devices;
  std::vector<XattrSet> xattr_sets;
  std::vector<uint32_t> file_contents;
  std::vector<fb::Digest> content_digests;
  std::vector<uint64_t> content_sizes;
  std::vector<uint32_t> content_extents;
  std::vector<uint64_t> extent_file_offsets;
  std::vector<uint32_t> extent_chunks;
  std::vector<uint32_t> extent_chunk_offsets;
  std::vector<uint32_t> extent_lengths;
  std::vector<fb::Digest> chunk_digests;
  std::vector<uint32_t> chunk_packs;
  std::vector<uint32_t> chunk_offsets;
  std::vector<uint32_t> chunk_stored;
  std::vector<uint32_t> chunk_sizes;
  std::vector<uint8_t> chunk_codecs;
  std::vector<uint8_t> chunk_kinds;
};

inline fb::Digest crafted_digest(const Digest& digest) {
  return fb::Digest(flatbuffers::span<const uint8_t, 32>(digest.bytes.data(), 32));
}

// The columns of a manifest whose tables stand in node order, as those of sample_manifest() do.
inline CraftedBody columns_of(const Manifest& manifest) {
  const Tree& tree = manifest.tree;
  CraftedBody body;
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    const Node& node = tree.nodes[i];
    body.parents.push_back(node.parent);
    body.name_lengths.push_back(node.name_length);
    const auto name = tree.name(node);
    body.names.insert(body.names.end(), name.begin(), name.end());
    body.modes.push_back(node.mode);
    body.owner_indices.push_back(static_cast<uint16_t>(i));
    body.owners.emplace_back(node.owner.uid, node.owner.gid);
    body.mtimes_ns.push_back(node.mtime_ns);
    if (node.xattrs != kNone) body.xattr_refs.emplace_back(i, node.xattrs);
    if (node.is_link()) {
      body.links.emplace_back(i, node.link_to);
    } else if (node.is_file()) {
      body.file_contents.push_back(node.payload);
    } else if (node.is_symlink()) {
      body.targets.push_back(tree.targets[node.payload]);
    } else if (node.is_device()) {
      const Device& device = tree.devices[node.payload];
      body.devices.emplace_back(i, device.major, device.minor);
    }
  }
  body.xattr_sets = tree.xattr_sets;
  for (const Content& content : tree.contents) {
    body.content_digests.push_back(crafted_digest(content.digest));
    body.content_sizes.push_back(content.size_bytes);
  }
  for (const ExtentRun& run : manifest.layout.contents) body.content_extents.push_back(run.count);
  for (const Extent& extent : manifest.layout.extents) {
    body.extent_file_offsets.push_back(extent.file_offset);
    body.extent_chunks.push_back(extent.chunk);
    body.extent_chunk_offsets.push_back(extent.chunk_offset);
    body.extent_lengths.push_back(extent.length);
  }
  for (const ChunkPlace& chunk : manifest.layout.chunks) {
    body.chunk_digests.push_back(crafted_digest(chunk.digest));
    body.chunk_packs.push_back(chunk.pack);
    body.chunk_offsets.push_back(chunk.offset);
    body.chunk_stored.push_back(chunk.stored_bytes);
    body.chunk_sizes.push_back(chunk.content_bytes);
    body.chunk_codecs.push_back(static_cast<uint8_t>(chunk.codec));
    body.chunk_kinds.push_back(static_cast<uint8_t>(chunk.kind));
  }
  return body;
}

inline ByteVector bytes_of(const flatbuffers::FlatBufferBuilder& builder) {
  ByteVector bytes;
  bytes.append({builder.GetBufferPointer(), builder.GetSize()});
  return bytes;
}

inline ByteVector build_body(const CraftedBody& from) {
  flatbuffers::FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<flatbuffers::String>> targets;
  for (const std::string& target : from.targets) targets.push_back(builder.CreateString(target));
  std::vector<flatbuffers::Offset<fb::XattrSet>> sets;
  for (const XattrSet& set : from.xattr_sets) {
    std::vector<flatbuffers::Offset<fb::Xattr>> xattrs;
    for (const Xattr& xattr : set) {
      const std::vector<uint8_t> value(xattr.value.begin(), xattr.value.end());
      xattrs.push_back(
          fb::CreateXattr(builder, builder.CreateString(xattr.name), builder.CreateVector(value)));
    }
    sets.push_back(fb::CreateXattrSetDirect(builder, &xattrs));
  }
  builder.Finish(fb::CreateManifestDirect(
      builder, &from.parents, &from.name_lengths, &from.names, &from.modes, &from.owner_indices,
      &from.mtimes_ns, &from.owners, &from.links, &from.xattr_refs, &targets, &from.devices, &sets,
      &from.file_contents, &from.content_digests, &from.content_sizes, &from.content_extents,
      &from.extent_file_offsets, &from.extent_chunks, &from.extent_chunk_offsets,
      &from.extent_lengths, &from.chunk_digests, &from.chunk_packs, &from.chunk_offsets,
      &from.chunk_stored, &from.chunk_sizes, &from.chunk_codecs, &from.chunk_kinds));
  return bytes_of(builder);
}

// A head that fits, before `stored`, which is taken for a body of `body_bytes`.
inline ByteVector wrap_stored(Bytes stored, uint64_t body_bytes,
                              const std::vector<PackRef>& packs) {
  ByteVector object;
  object.append(as_bytes("thawmf01"));
  append_le(object, static_cast<uint32_t>(packs.size()));
  append_le(object, uint32_t{0});
  append_le(object, body_bytes);
  append_le(object, uint64_t{stored.size()});
  for (const PackRef& pack : packs) {
    object.append(pack.id.bytes);
    append_le(object, pack.size_bytes);
    append_le(object, pack.live_stored_bytes);
  }
  object.append(sha256(object.view()).bytes);
  object.append(stored);
  return object;
}

inline ByteVector compress(Bytes content) {
  ByteVector stored(ZSTD_compressBound(content.size()));
  stored.resize(ZSTD_compress(stored.data(), stored.size(), content.data(), content.size(), 1));
  return stored;
}

inline ByteVector wrap_body(Bytes body, const std::vector<PackRef>& packs) {
  return wrap_stored(compress(body).view(), body.size(), packs);
}

}  // namespace thaw::test
