#include "snapshot/path_index.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace thaw {

// A counting sort by parent, which keeps the canonical order: siblings ascend by name.
PathIndex::PathIndex(const Tree& tree) : tree_(tree), begin_(tree.nodes.size() + 1, 0) {
  for (uint32_t i = 1; i < tree.nodes.size(); ++i) ++begin_[tree.nodes[i].parent + 1];
  std::partial_sum(begin_.begin(), begin_.end(), begin_.begin());
  children_.resize(begin_.back());
  std::vector<uint32_t> next(begin_.begin(), begin_.end() - 1);
  for (uint32_t i = 1; i < tree.nodes.size(); ++i) children_[next[tree.nodes[i].parent]++] = i;
}

uint32_t PathIndex::child(uint32_t parent, std::string_view name) const {
  const auto first = children_.begin() + begin_[parent];
  const auto last = children_.begin() + begin_[parent + 1];
  const auto found = std::lower_bound(
      first, last, name,
      [this](uint32_t node, std::string_view wanted) { return tree_.name(node) < wanted; });
  return found != last && tree_.name(*found) == name ? *found : kNone;
}

Result<uint32_t> PathIndex::find(std::string_view path) const {
  uint32_t node = 0;
  for (size_t start = 0; start < path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string_view name = path.substr(start, end - start);
    start = end + 1;
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      return Error(Code::invalid, "the path \"" + std::string(path) + "\" holds \"..\"");
    }
    const Node& folder = tree_.nodes[node];
    if (folder.is_symlink()) {
      const uint32_t target =
          folder.is_link() ? tree_.nodes[folder.link_to].payload : folder.payload;
      return Error(Code::invalid, tree_.path(node) + " is a symbolic link to " +
                                      tree_.targets[target] + ", which is not followed");
    }
    const uint32_t next = folder.is_dir() ? child(node, name) : kNone;
    if (next == kNone) {
      return Error(Code::not_found, "the snapshot has no " + std::string(path));
    }
    node = next;
  }
  return node;
}

Result<FileRef> PathIndex::find_file(std::string_view path) const {
  THAW_ASSIGN(const uint32_t number, find(path));
  const Node& node = tree_.nodes[number];
  if (const uint32_t content = tree_.content_of(node); content != kNone) {
    return FileRef{content, tree_.contents[content].size_bytes, number};
  }
  const std::string name = number == 0 ? "the snapshot's root" : tree_.path(number);
  if (node.is_dir()) return Error(Code::invalid, name + " is a directory");
  if (!node.is_symlink()) return Error(Code::invalid, name + " is no regular file");
  const uint32_t target = node.is_link() ? tree_.nodes[node.link_to].payload : node.payload;
  return Error(Code::invalid, name + " is a symbolic link to " + tree_.targets[target]);
}

}  // namespace thaw
