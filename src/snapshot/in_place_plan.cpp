#include "snapshot/in_place_plan.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "base/beneath.h"
#include "base/task_group.h"
#include "format/limits.h"
#include "snapshot/xattrs.h"

namespace thaw {
namespace {

struct ChildName {
  uint32_t parent;
  std::string_view name;
  bool operator==(const ChildName&) const = default;
};
struct ChildNameHash {
  size_t operator()(const ChildName& child) const {
    return std::hash<std::string_view>()(child.name) ^ (child.parent * 0x9e3779b97f4a7c15);
  }
};

bool same_type(const Node& a, const Node& b) { return (a.mode & S_IFMT) == (b.mode & S_IFMT); }

// The digest of an open file of this size, leaf by leaf; empty when it is not as long as that.
Result<std::optional<Digest>> digest_of(const Context& context, int fd, uint64_t size,
                                        const std::string& name) {
  std::vector<Digest> leaves;
  ByteVector leaf(std::min<uint64_t>(size, limits::kLeafBytes) + 1);
  for (uint64_t at = 0; at < size || leaves.empty(); at += limits::kLeafBytes) {
    THAW_CHECK(context.alive());
    const size_t want = std::min<uint64_t>(limits::kLeafBytes, size - at);
    THAW_ASSIGN(const size_t n, pread_up_to(fd, leaf.span().first(want), at, name));
    if (n != want) return std::optional<Digest>();
    leaves.push_back(sha256(leaf.view().first(n)));
  }
  return std::optional<Digest>(file_digest(size, leaves));
}

class Comparison {
 public:
  Comparison(const Manifest& manifest, Scan& scan, const std::string& root_name, KnownFiles& known,
             const CompareOptions& options)
      : wanted_(manifest.tree),
        scan_(scan),
        root_name_(root_name),
        known_(known),
        options_(options) {}

  Result<InPlacePlan> run(const Context& context) {
    match();
    THAW_CHECK(read_unknown(context));
    decide_files();
    decide_links();
    decide_folders();
    return std::move(plan_);
  }

 private:
  void match() {
    std::unordered_map<ChildName, uint32_t, ChildNameHash> children;
    children.reserve(wanted_.nodes.size());
    for (uint32_t i = 1; i < wanted_.nodes.size(); ++i) {
      children.emplace(ChildName{wanted_.nodes[i].parent, wanted_.name(i)}, i);
    }
    plan_.actions.assign(wanted_.nodes.size(), Action::none);
    plan_.scanned.assign(wanted_.nodes.size(), kNone);
    plan_.changed_folder.assign(wanted_.nodes.size(), 0);
    plan_.scanned[0] = 0;
    std::vector<uint32_t> node_of(scan_.tree.nodes.size(), kNone);
    node_of[0] = 0;
    for (uint32_t j = 1; j < scan_.tree.nodes.size(); ++j) {
      const Node& found = scan_.tree.nodes[j];
      const uint32_t parent = node_of[found.parent];
      if (parent == kNone) continue;  // below something that goes as a whole, or stays as a whole
      const auto child = children.find({parent, scan_.tree.name(j)});
      if (child == children.end()) {
        if (options_.remove_extra) {
          plan_.extra.push_back(j);
          plan_.changed_folder[parent] = 1;
        }
      } else if (!same_type(found, wanted_.nodes[child->second])) {
        plan_.in_the_way.push_back({j, child->second});
        plan_.changed_folder[parent] = 1;
      } else {
        plan_.scanned[child->second] = j;
        node_of[j] = child->second;
      }
    }
  }

  // A hard link on disk has its first name's inode, and that is the one that is read.
  uint32_t first_on_disk(uint32_t scanned) const {
    const Node& node = scan_.tree.nodes[scanned];
    return node.is_link() ? node.link_to : scanned;
  }

  const Content& content_of(uint32_t node) const {
    return wanted_.contents[wanted_.content_of(wanted_.nodes[node])];
  }

  Result<> read_unknown(const Context& context) {
    std::vector<uint32_t> unknown;
    std::vector<uint8_t> listed(scan_.tree.nodes.size(), 0);
    for (uint32_t i = 0; i < wanted_.nodes.size(); ++i) {
      if (!wanted_.nodes[i].is_file() || plan_.scanned[i] == kNone) continue;
      const uint32_t j = first_on_disk(plan_.scanned[i]);
      if (known_.digests[j] || listed[j] != 0) continue;
      if (scan_.stats[j].size_bytes != content_of(i).size_bytes) continue;
      listed[j] = 1;
      unknown.push_back(j);
    }
    std::mutex mutex;
    return parallel_for(context, options_.threads, unknown.size(),
                        [&](const Context& inner, unsigned, size_t k) -> Result<> {
                          return read_file(inner, unknown[k], mutex);
                        });
  }

  Result<> read_file(const Context& context, uint32_t j, std::mutex& mutex) {
    const std::string path = scan_.tree.path(j);
    const std::string name = root_name_ + "/" + path;
    auto fd = open_beneath(scan_.root.get(), path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    // What cannot be read is written anew.
    if (!fd) return {};
    ReadLease lease(fd->get());
    struct stat before {};
    if (::fstat(fd->get(), &before) != 0 || !file_stat_of(before).same_version(scan_.stats[j]))
      return {};
    const bool past = ctime_is_past(scan_.stats[j].ctime_ns);
    THAW_ASSIGN(const auto digest, digest_of(context, fd->get(), scan_.stats[j].size_bytes, name));
    THAW_ASSIGN(const XattrSet xattrs, read_xattrs(fd->get(), name));
    struct stat after {};
    if (!digest || ::fstat(fd->get(), &after) != 0 ||
        !file_stat_of(after).same_version(scan_.stats[j]))
      return {};
    const std::lock_guard lock(mutex);
    known_.digests[j] = *digest;
    known_.recordable[j] = past && lease.unbroken() ? 1 : 0;
    if (!xattrs.empty()) {
      scan_.tree.nodes[j].xattrs = static_cast<uint32_t>(scan_.tree.xattr_sets.size());
      scan_.tree.xattr_sets.push_back(xattrs);
    }
    return {};
  }

  bool same_attributes(const Node& wanted, const Node& found) const {
    if (!wanted.is_symlink() && wanted.mode != found.mode) return false;
    if (wanted.mtime_ns != found.mtime_ns) return false;
    if (options_.owners && ::geteuid() == 0 && wanted.owner != found.owner) return false;
    if (!options_.xattrs) return true;
    static const XattrSet kNothing;
    const XattrSet& a = wanted.xattrs == kNone ? kNothing : wanted_.xattr_sets[wanted.xattrs];
    const XattrSet& b = found.xattrs == kNone ? kNothing : scan_.tree.xattr_sets[found.xattrs];
    return a == b;
  }

  bool same_content(uint32_t i, uint32_t j) const {
    const Node& wanted = wanted_.nodes[i];
    const Node& found = scan_.tree.nodes[j];
    if (wanted.is_file()) {
      return scan_.stats[j].size_bytes == content_of(i).size_bytes &&
             known_.digests[j] == content_of(i).digest;
    }
    if (wanted.is_symlink())
      return wanted_.targets[wanted.payload] == scan_.tree.targets[found.payload];
    if (wanted.is_device())
      return wanted_.devices[wanted.payload] == scan_.tree.devices[found.payload];
    return true;
  }

  // Files and special files that are no hard links.
  void decide_files() {
    for (uint32_t i = 1; i < wanted_.nodes.size(); ++i) {
      const Node& node = wanted_.nodes[i];
      if (node.is_link() || node.is_dir()) continue;
      const uint32_t j = plan_.scanned[i];
      if (j == kNone) {
        plan_.actions[i] = Action::write;
        continue;
      }
      const uint32_t first = first_on_disk(j);
      // One inode serves one file of the snapshot; a second one needs its own.
      const auto [claim, fresh] = inode_owner_.try_emplace(first, i);
      if (!fresh || !same_content(i, first)) {
        plan_.actions[i] = Action::write;
        if (fresh) inode_owner_.erase(claim);
      } else if (!same_attributes(node, scan_.tree.nodes[first])) {
        plan_.actions[i] = Action::fix;
      }
    }
  }

  void decide_links() {
    for (uint32_t i = 1; i < wanted_.nodes.size(); ++i) {
      const Node& node = wanted_.nodes[i];
      if (!node.is_link()) continue;
      const uint32_t j = plan_.scanned[i];
      const uint32_t other = plan_.scanned[node.link_to];
      const bool linked = j != kNone && other != kNone &&
                          first_on_disk(j) == first_on_disk(other) &&
                          plan_.actions[node.link_to] != Action::write;
      if (!linked) plan_.actions[i] = Action::link;
    }
  }

  void decide_folders() {
    for (uint32_t i = 0; i < wanted_.nodes.size(); ++i) {
      const Node& node = wanted_.nodes[i];
      if (plan_.actions[i] == Action::write || plan_.actions[i] == Action::link) {
        plan_.changed_folder[node.parent] = 1;
      }
      if (!node.is_dir()) continue;
      if (plan_.scanned[i] == kNone) {
        plan_.actions[i] = Action::folder;
        plan_.changed_folder[node.parent] = 1;
        plan_.changed_folder[i] = 1;
      } else if (!same_attributes(node, scan_.tree.nodes[plan_.scanned[i]])) {
        plan_.actions[i] = Action::fix;
      }
    }
  }

  const Tree& wanted_;
  Scan& scan_;
  const std::string& root_name_;
  KnownFiles& known_;
  const CompareOptions& options_;
  InPlacePlan plan_;
  std::map<uint32_t, uint32_t> inode_owner_;  // first name on disk -> node that keeps its inode
};

}  // namespace

Result<InPlacePlan> plan_in_place(const Context& context, const Manifest& manifest, Scan& scan,
                                  const std::string& root_name, KnownFiles& known,
                                  const CompareOptions& options) {
  return Comparison(manifest, scan, root_name, known, options).run(context);
}

}  // namespace thaw
