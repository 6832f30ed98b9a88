// A small snapshot with one of everything, for tests and fuzz seeds. Valid until they break it.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>

#include "format/manifest.h"

namespace thaw::test {

// Appends a node; the caller keeps canonical order.
inline uint32_t add_node(Tree& tree, uint32_t parent, std::string_view name, uint32_t mode,
                         uint32_t payload = kNone) {
  Node node;
  node.parent = parent;
  node.name_offset = static_cast<uint32_t>(tree.names.size());
  node.name_length = static_cast<uint8_t>(name.size());
  node.mode = static_cast<uint16_t>(mode);
  node.payload = payload;
  tree.names += name;
  tree.nodes.push_back(node);
  return static_cast<uint32_t>(tree.nodes.size() - 1);
}

// A further name of the inode whose first node is `first`.
inline uint32_t add_link(Tree& tree, uint32_t parent, std::string_view name, uint32_t first) {
  const uint32_t index = add_node(tree, parent, name, 0);
  Node& node = tree.nodes[index];
  const Node& inode = tree.nodes[first];
  node.mode = inode.mode;
  node.owner = inode.owner;
  node.mtime_ns = inode.mtime_ns;
  node.xattrs = inode.xattrs;
  node.link_to = first;
  return index;
}

inline Tree empty_tree() {
  Tree tree;
  add_node(tree, 0, "", S_IFDIR | 0755);
  return tree;
}

// Where things lie in sample_tree().
struct Sample {
  enum Index : uint32_t {
    root,
    dir_a,
    empty_file,
    bundled_file,
    hard_link,
    dir_sub,
    sparse_file,
    symlink,
    fifo,
    char_device,
    block_device,
    linked_symlink,
    same_file,
    count
  };
};

inline Tree sample_tree() {
  Tree tree = empty_tree();
  tree.contents = {{sha256({}), 0},
                   {sha256(as_bytes("bundled")), 1000},
                   {sha256(as_bytes("sparse")), 3 * 1024 * 1024}};
  tree.targets = {"../somewhere/else"};
  tree.devices = {{1, 3}, {8, 17}};
  tree.xattr_sets = {{{"user.colour", "blue"}, {"user.shape", std::string("r\0und", 5)}},
                     {{"security.capability", "x"}}};
  const uint32_t dir_a = add_node(tree, 0, "a", S_IFDIR | 0700);
  add_node(tree, dir_a, "empty", S_IFREG | 0644, 0);
  const uint32_t bundled = add_node(tree, dir_a, "file", S_IFREG | 04755, 1);
  tree.nodes[bundled].owner = {1000, 1001};
  tree.nodes[bundled].mtime_ns = 1'700'000'000'123'456'789;
  add_link(tree, dir_a, "link", bundled);
  const uint32_t sub = add_node(tree, dir_a, "sub", S_IFDIR | 01777);
  tree.nodes[sub].xattrs = 0;
  tree.nodes[sub].mtime_ns = -1;
  add_node(tree, sub, "x", S_IFREG | 0600, 2);
  const uint32_t symlink = add_node(tree, 0, "b", S_IFLNK | 0777, 0);
  add_node(tree, 0, "c", S_IFIFO | 0600);
  add_node(tree, 0, "d", S_IFCHR | 0666, 0);
  add_node(tree, 0, "e", S_IFBLK | 0660, 1);
  add_link(tree, 0, "y", symlink);
  const uint32_t same = add_node(tree, 0, "z\xff", S_IFREG | 0644, 1);
  tree.nodes[same].xattrs = 1;
  return tree;
}

inline Layout sample_layout() {
  Layout layout;
  PackRef pack;
  pack.id.bytes.fill(0x11);
  pack.size_bytes = 10'000;
  layout.packs.push_back(pack);
  pack.id.bytes.fill(0x22);
  pack.size_bytes = 64 * 1024 * 1024;
  layout.packs.push_back(pack);
  layout.chunks = {
      {sha256(as_bytes("chunk 0")), 0, 8, 500, 1500, Codec::zstd, ChunkKind::bundle},
      {sha256(as_bytes("chunk 1")), 0, 508, 4096, 4096, Codec::raw, ChunkKind::whole},
      {sha256(as_bytes("chunk 2")), 1, 8, 70'000, 200'000, Codec::zstd, ChunkKind::whole}};
  layout.extents = {{0, 0, 200, 1000}, {4096, 1, 0, 4096}, {1024 * 1024, 2, 100, 5000}};
  layout.contents = {{0, 0}, {0, 1}, {1, 2}};
  return layout;
}

inline Manifest sample_manifest() { return {sample_tree(), sample_layout()}; }

}  // namespace thaw::test
