// The logical tree of a snapshot: what a directory holds, without where its bytes lie.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/digest.h"

namespace thaw {

inline constexpr uint32_t kNone = UINT32_MAX;

struct Owner {
  uint32_t uid = 0;
  uint32_t gid = 0;
  bool operator==(const Owner&) const = default;
};

struct Xattr {
  std::string name;   // with its namespace: "user.comment", "system.posix_acl_access"
  std::string value;  // any bytes
  auto operator<=>(const Xattr&) const = default;
};
using XattrSet = std::vector<Xattr>;  // sorted by name, unique

// One name in the tree. Which index `payload` is depends on the type in `mode`.
struct Node {
  uint32_t parent = 0;       // node; the root's is 0
  uint32_t name_offset = 0;  // into Tree::names
  uint16_t mode = 0;         // as st_mode: type and permission bits
  uint8_t name_length = 0;
  Owner owner;
  int64_t mtime_ns = 0;
  uint32_t payload =
      kNone;  // regular: Tree::contents; symlink: Tree::targets; device: Tree::devices
  uint32_t xattrs = kNone;   // Tree::xattr_sets
  uint32_t link_to = kNone;  // a hard link: the first node of the same inode (it holds the payload)

  bool is_dir() const { return S_ISDIR(mode); }
  bool is_file() const { return S_ISREG(mode); }
  bool is_symlink() const { return S_ISLNK(mode); }
  bool is_device() const { return S_ISCHR(mode) || S_ISBLK(mode); }
  bool is_fifo() const { return S_ISFIFO(mode); }
  bool is_link() const { return link_to != kNone; }
};

// A regular file's bytes, shared by all nodes that have the same ones.
struct Content {
  Digest digest;
  uint64_t size_bytes = 0;
  bool operator==(const Content&) const = default;
};

struct Device {
  uint32_t major = 0;
  uint32_t minor = 0;
  bool operator==(const Device&) const = default;
};

// Nodes stand in canonical order: depth-first, parents first, siblings by their names' bytes; node
// 0 is the root. A plain value: thread-safe once built.
struct Tree {
  std::vector<Node> nodes;
  std::string names;
  std::vector<Content> contents;
  std::vector<std::string> targets;
  std::vector<Device> devices;
  std::vector<XattrSet> xattr_sets;

  std::string_view name(const Node& node) const {
    return std::string_view(names).substr(node.name_offset, node.name_length);
  }
  std::string_view name(uint32_t index) const { return name(nodes[index]); }
  // "a/b/c" from the root; "" for the root itself. A cost per level.
  std::string path(uint32_t index) const;
  // The content of a regular file, through its hard link if it is one; kNone for other types.
  uint32_t content_of(const Node& node) const {
    if (!node.is_file()) return kNone;
    return node.is_link() ? nodes[node.link_to].payload : node.payload;
  }
};

// Gives each hard link what its first name has: mode, owner, time and attributes are its inode's.
// Precondition: links lead to nodes before them.
void share_with_links(Tree& tree);

// Every rule of docs/format.md on the tree (order, names, types, links, indices, caps), or what is
// wrong and where. A tree that passed is safe to walk, print and write below a root.
Result<> check_tree(const Tree& tree);

struct TreeIds {
  Digest snapshot;  // of everything
  Digest content;   // without times and owners
  bool operator==(const TreeIds&) const = default;
};
// Precondition: check_tree passed.
TreeIds ids_of(const Tree& tree);

struct TreeTotals {
  uint64_t files = 0;   // regular, hard links included
  uint64_t dirs = 0;    // the root included
  uint64_t others = 0;  // links, FIFOs, devices
  uint64_t bytes = 0;   // apparent; a hard-linked file counts once
};
TreeTotals totals_of(const Tree& tree);

}  // namespace thaw
