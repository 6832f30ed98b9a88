// Finding a path in a snapshot's tree.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "format/tree.h"

namespace thaw {

// A regular file of a snapshot.
struct FileRef {
  uint32_t content = 0;  // in the snapshot's tree
  uint64_t size_bytes = 0;
  uint32_t node = kNone;  // the name that it was found under
};

// The children of each directory, in order of their names: 8 bytes a node, made in one pass, and a
// path is found by one binary search a component. Thread-safe. The tree, which passed check_tree,
// outlives it.
class PathIndex {
 public:
  explicit PathIndex(const Tree& tree);

  // The node that a path from the root leads to; "" is the root, and empty components and "." are
  // passed over. Errors: not_found; invalid when it leads through a symbolic link (the message says
  // where to) or holds "..".
  Result<uint32_t> find(std::string_view path) const;

  // A path from the snapshot's root ("etc/hosts"). Errors: not_found; invalid when it leads to no
  // regular file (a directory, a link: the message says where it leads), through a link, or holds
  // "..".
  Result<FileRef> find_file(std::string_view path) const;

 private:
  uint32_t child(uint32_t parent, std::string_view name) const;  // kNone when there is none

  const Tree& tree_;
  std::vector<uint32_t> begin_;  // per node, and one more: into children_
  std::vector<uint32_t> children_;
};

}  // namespace thaw
