#include "format/tree.h"

#include <algorithm>

#include "format/limits.h"

namespace thaw {
namespace {

Error bad(uint32_t index, const char* what, Code code = Code::corrupt) {
  return {code, "node " + std::to_string(index) + " " + what};
}

bool name_is_safe(std::string_view name) {
  return !name.empty() && name.size() <= limits::kNameBytes && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

Result<> check_payload(const Tree& tree, uint32_t index) {
  const Node& node = tree.nodes[index];
  if (node.xattrs != kNone && node.xattrs >= tree.xattr_sets.size()) {
    return bad(index, "has attributes that do not exist");
  }
  if (node.is_link()) {
    if (node.is_dir() || node.link_to >= index) return bad(index, "is a link to nothing before it");
    const Node& first = tree.nodes[node.link_to];
    if (first.is_dir() || first.is_link() || first.mode != node.mode || node.payload != kNone) {
      return bad(index, "is a link to a node of another kind");
    }
    if (node.owner != first.owner || node.mtime_ns != first.mtime_ns ||
        node.xattrs != first.xattrs) {
      return bad(index, "is a link whose owner, time or attributes are not its inode's");
    }
    return {};
  }
  size_t count = 0;
  switch (node.mode & S_IFMT) {
    case S_IFREG:
      count = tree.contents.size();
      break;
    case S_IFLNK:
      count = tree.targets.size();
      break;
    case S_IFCHR:
    case S_IFBLK:
      count = tree.devices.size();
      break;
    case S_IFDIR:
    case S_IFIFO:
      if (node.payload != kNone) return bad(index, "has a payload that its type has not");
      return {};
    default:
      return bad(index, "is of an unknown type");
  }
  if (node.payload >= count) return bad(index, "has a payload that does not exist");
  return {};
}

Result<> check_tables(const Tree& tree) {
  for (const std::string& target : tree.targets) {
    if (target.empty() || target.size() > limits::kLinkTargetBytes ||
        target.find('\0') != std::string::npos) {
      return Error(Code::corrupt, "a symbolic link's target is empty, too long or holds a NUL");
    }
  }
  uint64_t xattr_tables = 0;
  for (const XattrSet& set : tree.xattr_sets) {
    size_t bytes = 0;
    xattr_tables += 1 + set.size();
    for (size_t i = 0; i < set.size(); ++i) {
      const std::string& name = set[i].name;
      if (name.empty() || name.size() > limits::kNameBytes ||
          name.find('\0') != std::string::npos || (i > 0 && !(set[i - 1].name < name))) {
        return Error(Code::corrupt, "an extended attribute's name is malformed or out of order");
      }
      bytes += name.size() + set[i].value.size();
    }
    if (set.empty()) return Error(Code::corrupt, "a set of extended attributes is empty");
    if (bytes > limits::kXattrBytes) {
      return Error(Code::exhausted, "extended attributes of more than 128 KiB on one file");
    }
  }
  if (xattr_tables > limits::kXattrTables) {
    return Error(Code::exhausted, "more than 4,194,304 different extended attributes in one tree");
  }
  for (const Content& content : tree.contents) {
    if (content.size_bytes > limits::kFileBytes) {
      return Error(Code::exhausted, "a file of more than 2^62 bytes");
    }
  }
  return {};
}

// What a tree holds in all: bounded, so that no sum over it overflows or costs without measure.
Result<> check_sums(const Tree& tree) {
  std::vector<size_t> set_bytes;
  set_bytes.reserve(tree.xattr_sets.size());
  for (const XattrSet& set : tree.xattr_sets) {
    size_t bytes = 0;
    for (const Xattr& xattr : set) bytes += xattr.name.size() + xattr.value.size();
    set_bytes.push_back(bytes);
  }
  uint64_t xattr_bytes = 0;
  uint64_t file_bytes = 0;
  for (const Node& node : tree.nodes) {
    if (node.xattrs != kNone) xattr_bytes += set_bytes[node.xattrs];
    if (!node.is_file() || node.is_link()) continue;
    // No overflow: both are at most 2^63 here.
    file_bytes += tree.contents[node.payload].size_bytes;
    if (file_bytes > limits::kTreeBytes) {
      return Error(Code::exhausted, "files of more than 2^63 - 1 bytes in one tree");
    }
  }
  if (xattr_bytes > limits::kTreeXattrBytes) {
    return Error(Code::exhausted, "more than 1 GiB of extended attributes in one tree");
  }
  return {};
}

// Follows the path from the root to the last node seen, and on it each directory's last child: that
// is enough to tell canonical order, and with it unique names and the absence of cycles.
class OrderCheck {
 public:
  explicit OrderCheck(const Tree& tree) : tree_(tree) { path_.push_back({0, kNone}); }

  Result<> next(uint32_t index) {
    const Node& node = tree_.nodes[index];
    while (!path_.empty() && path_.back().directory != node.parent) path_.pop_back();
    if (path_.empty()) return bad(index, "is not below a directory that is open here");
    Level& level = path_.back();
    if (level.last_child != kNone && !(tree_.name(level.last_child) < tree_.name(index))) {
      return bad(index, "repeats a name or is out of order");
    }
    level.last_child = index;
    if (!node.is_dir()) return {};
    if (path_.size() >= limits::kDepth)
      return bad(index, "is more than 1,024 directories deep", Code::exhausted);
    path_.push_back({index, kNone});
    return {};
  }

 private:
  struct Level {
    uint32_t directory;
    uint32_t last_child;
  };
  const Tree& tree_;
  std::vector<Level> path_;
};

// Gathers a node's few bytes before hashing them: a call to OpenSSL for each field costs more than
// the hash itself.
class NodeSerialiser {
 public:
  template <class T>
  void update_le(T value) {
    append_le(bytes_, value);
  }
  void update(Bytes bytes) { bytes_.append(bytes); }
  void update(std::string_view text) { bytes_.append(as_bytes(text)); }
  void flush_into(Sha256& hash) {
    hash.update(bytes_.view());
    bytes_.clear();
  }
  size_t size() const { return bytes_.size(); }

 private:
  ByteVector bytes_;
};

void feed_payload(NodeSerialiser& to, const Tree& tree, const Node& node) {
  if (node.is_link()) {
    to.update_le(uint8_t{4});
    to.update_le(node.link_to);
  } else if (node.is_file()) {
    const Content& content = tree.contents[node.payload];
    to.update_le(uint8_t{1});
    to.update_le(content.size_bytes);
    to.update(content.digest.bytes);
  } else if (node.is_symlink()) {
    const std::string& target = tree.targets[node.payload];
    to.update_le(uint8_t{2});
    to.update_le(static_cast<uint32_t>(target.size()));
    to.update(target);
  } else if (node.is_device()) {
    const Device& device = tree.devices[node.payload];
    to.update_le(uint8_t{3});
    to.update_le(device.major);
    to.update_le(device.minor);
  } else {
    to.update_le(uint8_t{0});
  }
}

}  // namespace

std::string Tree::path(uint32_t index) const {
  std::vector<uint32_t> chain;
  for (; index != 0; index = nodes[index].parent) chain.push_back(index);
  std::string text;
  for (auto each = chain.rbegin(); each != chain.rend(); ++each) {
    if (!text.empty()) text.push_back('/');
    text += name(*each);
  }
  return text;
}

void share_with_links(Tree& tree) {
  for (Node& node : tree.nodes) {
    if (!node.is_link()) continue;
    const Node& first = tree.nodes[node.link_to];
    node.mode = first.mode;
    node.owner = first.owner;
    node.mtime_ns = first.mtime_ns;
    node.xattrs = first.xattrs;
  }
}

Result<> check_tree(const Tree& tree) {
  if (tree.nodes.empty()) return Error(Code::corrupt, "a tree without a root");
  if (tree.nodes.size() > limits::kNodes) {
    return Error(Code::exhausted, "more than 16,777,216 names in one tree");
  }
  const Node& root = tree.nodes[0];
  if (!root.is_dir() || root.parent != 0 || root.name_length != 0 || root.is_link()) {
    return bad(0, "is not a root");
  }
  THAW_CHECK(check_tables(tree));
  OrderCheck order(tree);
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    const Node& node = tree.nodes[i];
    if (uint64_t{node.name_offset} + node.name_length > tree.names.size()) {
      return bad(i, "has a name outside the names");
    }
    THAW_CHECK(check_payload(tree, i));
    if (i == 0) continue;
    if (!name_is_safe(tree.name(node))) return bad(i, "has a name that no file may have");
    if (node.parent >= i) return bad(i, "stands before its parent");
    THAW_CHECK(order.next(i));
  }
  return check_sums(tree);
}

namespace {

Digest id_of(const Tree& tree, std::string_view domain, bool with_times_and_owners) {
  // Blocks keep the hash running on the processor's own instructions instead of on call overhead.
  constexpr size_t kFlushBytes = 32 * 1024;
  Sha256 hash;
  NodeSerialiser bytes;
  bytes.update(domain);
  for (const Node& node : tree.nodes) {
    bytes.update_le(node.parent);
    bytes.update_le(node.name_length);
    bytes.update(tree.name(node));
    bytes.update_le(node.mode);
    if (with_times_and_owners) {
      bytes.update_le(node.owner.uid);
      bytes.update_le(node.owner.gid);
      bytes.update_le(node.mtime_ns);
    }
    feed_payload(bytes, tree, node);
    if (node.xattrs == kNone) {
      bytes.update_le(uint32_t{0});
    } else {
      const XattrSet& set = tree.xattr_sets[node.xattrs];
      bytes.update_le(static_cast<uint32_t>(set.size()));
      for (const Xattr& xattr : set) {
        bytes.update_le(static_cast<uint32_t>(xattr.name.size()));
        bytes.update(xattr.name);
        bytes.update_le(static_cast<uint32_t>(xattr.value.size()));
        bytes.update(xattr.value);
      }
    }
    if (bytes.size() >= kFlushBytes) bytes.flush_into(hash);
  }
  bytes.flush_into(hash);
  return hash.finish();
}

}  // namespace

TreeIds ids_of(const Tree& tree) {
  return {id_of(tree, "thaw snapshot v1\n", true), id_of(tree, "thaw content v1\n", false)};
}

TreeTotals totals_of(const Tree& tree) {
  TreeTotals totals;
  for (const Node& node : tree.nodes) {
    if (node.is_dir()) {
      ++totals.dirs;
    } else if (node.is_file()) {
      ++totals.files;
      if (!node.is_link()) totals.bytes += tree.contents[node.payload].size_bytes;
    } else {
      ++totals.others;
    }
  }
  return totals;
}

}  // namespace thaw
