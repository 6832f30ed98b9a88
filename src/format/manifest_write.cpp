#include "format/manifest_body.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "format/limits.h"
#include "format/manifest_generated.h"

namespace thaw {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
// Adds columns that lie in the buffer already to the table.
using AddColumns = std::function<void(fb::ManifestBuilder&)>;

fb::Digest to_fb(const Digest& digest) {
  return fb::Digest(flatbuffers::span<const uint8_t, 32>(digest.bytes.data(), 32));
}

// A column: one field of each row.
template <class Row, class Get>
auto column(const std::vector<Row>& rows, Get get) {
  std::vector<std::decay_t<decltype(get(rows.front()))>> values;
  values.reserve(rows.size());
  for (const Row& row : rows) values.push_back(get(row));
  return values;
}

struct NodeColumns {
  std::vector<uint16_t> owner_indices;
  std::vector<fb::Owner> owners;
  std::vector<fb::NodeRef> links;
  std::vector<fb::NodeRef> xattr_refs;
  std::vector<uint32_t> target_order;  // Tree::targets, in node order
  std::vector<fb::Device> devices;
  std::vector<uint32_t> file_contents;
  std::string names;
};

Result<NodeColumns> gather(const Tree& tree) {
  NodeColumns columns;
  std::map<std::pair<uint32_t, uint32_t>, uint16_t> owner_numbers;
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    const Node& node = tree.nodes[i];
    columns.names += tree.name(node);
    const auto [found, fresh] = owner_numbers.try_emplace(
        {node.owner.uid, node.owner.gid}, static_cast<uint16_t>(columns.owners.size()));
    if (fresh) {
      if (columns.owners.size() >= limits::kOwners) {
        return Error(Code::exhausted, "more than 65,536 different owners in one tree");
      }
      columns.owners.emplace_back(node.owner.uid, node.owner.gid);
    }
    columns.owner_indices.push_back(found->second);
    if (node.xattrs != kNone) columns.xattr_refs.emplace_back(i, node.xattrs);
    if (node.is_link()) {
      columns.links.emplace_back(i, node.link_to);
    } else if (node.is_file()) {
      columns.file_contents.push_back(node.payload);
    } else if (node.is_symlink()) {
      columns.target_order.push_back(node.payload);
    } else if (node.is_device()) {
      const Device& device = tree.devices[node.payload];
      columns.devices.emplace_back(i, device.major, device.minor);
    }
  }
  return columns;
}

Offset<flatbuffers::Vector<Offset<fb::XattrSet>>> build_xattrs(FlatBufferBuilder& builder,
                                                               const Tree& tree) {
  std::vector<Offset<fb::XattrSet>> sets;
  for (const XattrSet& set : tree.xattr_sets) {
    std::vector<Offset<fb::Xattr>> xattrs;
    for (const Xattr& xattr : set) {
      const auto name = builder.CreateString(xattr.name);
      const auto value = builder.CreateVector(reinterpret_cast<const uint8_t*>(xattr.value.data()),
                                              xattr.value.size());
      xattrs.push_back(fb::CreateXattr(builder, name, value));
    }
    sets.push_back(fb::CreateXattrSet(builder, builder.CreateVector(xattrs)));
  }
  return builder.CreateVector(sets);
}

// At least as many bytes as the body takes, paddings included. FlatBuffers itself does not notice
// when its 32-bit offsets overflow, so this is asked before anything is built.
uint64_t body_bound(const Manifest& manifest, const NodeColumns& nodes) {
  const Tree& tree = manifest.tree;
  const Layout& layout = manifest.layout;
  uint64_t bytes = 4096;  // the table itself, and each column's length and padding
  bytes += tree.nodes.size() * uint64_t{4 + 1 + 2 + 2 + 8} + nodes.names.size();
  bytes += (nodes.owners.size() + nodes.links.size() + nodes.xattr_refs.size()) * uint64_t{8};
  bytes += nodes.devices.size() * uint64_t{12} + nodes.file_contents.size() * uint64_t{4};
  for (const uint32_t target : nodes.target_order) bytes += 12 + tree.targets[target].size();
  for (const XattrSet& set : tree.xattr_sets) {
    bytes += 32;
    for (const Xattr& xattr : set) bytes += 48 + xattr.name.size() + xattr.value.size();
  }
  bytes += layout.contents.size() * uint64_t{32 + 8 + 4};
  for (const ExtentRun& run : layout.contents) bytes += run.count * uint64_t{8 + 4 + 4 + 4};
  bytes += layout.chunks.size() * uint64_t{32 + 4 * 4 + 2};
  return bytes;
}

AddColumns write_nodes(FlatBufferBuilder& builder, const Tree& tree, const NodeColumns& nodes) {
  std::vector<Offset<flatbuffers::String>> strings;
  strings.reserve(nodes.target_order.size());
  for (const uint32_t target : nodes.target_order) {
    strings.push_back(builder.CreateString(tree.targets[target]));
  }
  const auto targets = builder.CreateVector(strings);
  const auto xattr_sets = build_xattrs(builder, tree);
  const auto parents =
      builder.CreateVector(column(tree.nodes, [](const Node& n) { return n.parent; }));
  const auto name_lengths =
      builder.CreateVector(column(tree.nodes, [](const Node& n) { return n.name_length; }));
  const auto names = builder.CreateVector(reinterpret_cast<const uint8_t*>(nodes.names.data()),
                                          nodes.names.size());
  const auto modes = builder.CreateVector(column(tree.nodes, [](const Node& n) { return n.mode; }));
  const auto owner_indices = builder.CreateVector(nodes.owner_indices);
  const auto mtimes =
      builder.CreateVector(column(tree.nodes, [](const Node& n) { return n.mtime_ns; }));
  const auto owners = builder.CreateVectorOfStructs(nodes.owners);
  const auto links = builder.CreateVectorOfStructs(nodes.links);
  const auto xattr_refs = builder.CreateVectorOfStructs(nodes.xattr_refs);
  const auto devices = builder.CreateVectorOfStructs(nodes.devices);
  const auto file_contents = builder.CreateVector(nodes.file_contents);
  return [=](fb::ManifestBuilder& table) {
    table.add_parents(parents);
    table.add_name_lengths(name_lengths);
    table.add_names(names);
    table.add_modes(modes);
    table.add_owner_indices(owner_indices);
    table.add_mtimes_ns(mtimes);
    table.add_owners(owners);
    table.add_links(links);
    table.add_xattr_refs(xattr_refs);
    table.add_targets(targets);
    table.add_devices(devices);
    table.add_xattr_sets(xattr_sets);
    table.add_file_contents(file_contents);
  };
}

AddColumns write_contents(FlatBufferBuilder& builder, const Tree& tree, const Layout& layout) {
  const auto digests = builder.CreateVectorOfStructs(
      column(tree.contents, [](const Content& c) { return to_fb(c.digest); }));
  const auto sizes =
      builder.CreateVector(column(tree.contents, [](const Content& c) { return c.size_bytes; }));
  const auto counts =
      builder.CreateVector(column(layout.contents, [](const ExtentRun& r) { return r.count; }));
  // In the contents' order, whatever order the layout keeps them in.
  std::vector<Extent> extents;
  extents.reserve(layout.extents.size());
  for (uint32_t i = 0; i < layout.contents.size(); ++i) {
    const auto run = layout.extents_of(i);
    extents.insert(extents.end(), run.begin(), run.end());
  }
  const auto file_offsets =
      builder.CreateVector(column(extents, [](const Extent& e) { return e.file_offset; }));
  const auto chunks =
      builder.CreateVector(column(extents, [](const Extent& e) { return e.chunk; }));
  const auto chunk_offsets =
      builder.CreateVector(column(extents, [](const Extent& e) { return e.chunk_offset; }));
  const auto lengths =
      builder.CreateVector(column(extents, [](const Extent& e) { return e.length; }));
  return [=](fb::ManifestBuilder& table) {
    table.add_content_digests(digests);
    table.add_content_sizes(sizes);
    table.add_content_extents(counts);
    table.add_extent_file_offsets(file_offsets);
    table.add_extent_chunks(chunks);
    table.add_extent_chunk_offsets(chunk_offsets);
    table.add_extent_lengths(lengths);
  };
}

AddColumns write_chunks(FlatBufferBuilder& builder, const std::vector<ChunkPlace>& chunks) {
  const auto digests = builder.CreateVectorOfStructs(
      column(chunks, [](const ChunkPlace& c) { return to_fb(c.digest); }));
  const auto packs =
      builder.CreateVector(column(chunks, [](const ChunkPlace& c) { return c.pack; }));
  const auto offsets =
      builder.CreateVector(column(chunks, [](const ChunkPlace& c) { return c.offset; }));
  const auto stored =
      builder.CreateVector(column(chunks, [](const ChunkPlace& c) { return c.stored_bytes; }));
  const auto sizes =
      builder.CreateVector(column(chunks, [](const ChunkPlace& c) { return c.content_bytes; }));
  const auto codecs = builder.CreateVector(
      column(chunks, [](const ChunkPlace& c) { return static_cast<uint8_t>(c.codec); }));
  const auto kinds = builder.CreateVector(
      column(chunks, [](const ChunkPlace& c) { return static_cast<uint8_t>(c.kind); }));
  return [=](fb::ManifestBuilder& table) {
    table.add_chunk_digests(digests);
    table.add_chunk_packs(packs);
    table.add_chunk_offsets(offsets);
    table.add_chunk_stored(stored);
    table.add_chunk_sizes(sizes);
    table.add_chunk_codecs(codecs);
    table.add_chunk_kinds(kinds);
  };
}

}  // namespace

Result<ByteVector> encode_manifest_body(const Manifest& manifest) {
  THAW_ASSIGN(const NodeColumns nodes, gather(manifest.tree));
  const uint64_t bound = body_bound(manifest, nodes);
  if (bound > limits::kManifestBodyBytes) {
    return Error(Code::exhausted, "a manifest larger than its cap of 2,047 MiB");
  }
  FlatBufferBuilder builder(bound);
  const AddColumns groups[] = {write_nodes(builder, manifest.tree, nodes),
                               write_contents(builder, manifest.tree, manifest.layout),
                               write_chunks(builder, manifest.layout.chunks)};
  fb::ManifestBuilder table(builder);
  for (const AddColumns& add : groups) add(table);
  builder.Finish(table.Finish());
  ByteVector body;
  body.append({builder.GetBufferPointer(), builder.GetSize()});
  return body;
}

}  // namespace thaw
