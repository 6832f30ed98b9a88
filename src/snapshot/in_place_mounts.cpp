#include "snapshot/in_place_mounts.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "snapshot/mounts.h"

namespace thaw {
namespace {

// The node of a path, or kNone.
uint32_t node_at(const Tree& tree, std::string_view path) {
  uint32_t at = 0;
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(name.size() + 1, path.size()));
    uint32_t next = at + 1;  // what is in a folder comes after it
    const auto count = static_cast<uint32_t>(tree.nodes.size());
    while (next < count && (tree.nodes[next].parent != at || tree.name(next) != name)) ++next;
    if (next == count) return kNone;
    at = next;
  }
  return at;
}

class MountMap {
 public:
  MountMap(const Scan& scan, const std::string& root_name)
      : scan_(scan),
        root_name_(root_name),
        at_or_above_(scan.tree.nodes.size(), kNone),
        at_or_below_(scan.tree.nodes.size(), kNone) {
    std::vector<uint8_t> is_root(scan.tree.nodes.size(), 0);
    for (const std::string& path : mounts_below(root_name)) {
      if (const uint32_t j = node_at(scan.tree, path); j != kNone) is_root[j] = 1;
    }
    for (uint32_t j = 1; j < scan.tree.nodes.size(); ++j) {
      const Node& node = scan.tree.nodes[j];
      // Another filesystem that the table of mounts does not show: a subvolume.
      const bool crosses = node.is_dir() && scan.stats[j].device != scan.stats[node.parent].device;
      const bool mounted = is_root[j] != 0 || crosses;
      at_or_above_[j] = mounted ? j : at_or_above_[node.parent];
      if (!mounted) continue;
      for (uint32_t k = j; k != 0 && at_or_below_[k] == kNone; k = scan.tree.nodes[k].parent) {
        at_or_below_[k] = j;
      }
    }
  }

  // Something that is kept as a folder, or is one name: what is mounted below it does not matter.
  Result<> refuse_above(uint32_t j) const { return refuse(at_or_above_[j]); }

  // Something that goes with all that is in it.
  Result<> refuse_around(uint32_t j) const {
    THAW_CHECK(refuse_above(j));
    return refuse(at_or_below_[j]);
  }

 private:
  Result<> refuse(uint32_t mount) const {
    if (mount == kNone) return {};
    return Error(Code::busy, root_name_ + "/" + scan_.tree.path(mount) +
                                 " is a mount point in what is to be changed: unmount it, or "
                                 "restore to another directory");
  }

  const Scan& scan_;
  const std::string& root_name_;
  std::vector<uint32_t> at_or_above_;  // per node on disk: the mount point it lies at or below
  std::vector<uint32_t> at_or_below_;  // per node on disk: a mount point that it is or holds
};

}  // namespace

Result<> refuse_mounts_in_the_way(const InPlacePlan& plan, const Tree& wanted, const Scan& scan,
                                  const std::string& root_name) {
  const MountMap mounts(scan, root_name);
  for (const uint32_t j : plan.extra) THAW_CHECK(mounts.refuse_around(j));
  for (const auto& each : plan.in_the_way) THAW_CHECK(mounts.refuse_around(each.scanned));
  for (uint32_t i = 1; i < wanted.nodes.size(); ++i) {
    if (plan.actions[i] == Action::none) continue;
    const Node& node = wanted.nodes[i];
    const uint32_t parent = plan.scanned[node.parent];
    // A folder that is not there yet was looked at before what comes into it.
    if (parent != kNone) THAW_CHECK(mounts.refuse_above(parent));
    if (plan.scanned[i] != kNone) THAW_CHECK(mounts.refuse_above(plan.scanned[i]));
    const uint32_t first = plan.actions[i] == Action::link ? plan.scanned[node.link_to] : kNone;
    if (first != kNone) THAW_CHECK(mounts.refuse_above(first));
  }
  return {};
}

}  // namespace thaw
