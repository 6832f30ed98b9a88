#include "cache/local_tree.h"

#include <filesystem>
#include <system_error>
#include <unordered_map>

#include "snapshot/scan.h"
#include "snapshot/stat_cache.h"

namespace thaw::cache {
namespace {

bool is_own_file(const Node& node) { return node.is_file() && !node.is_link(); }

}  // namespace

Result<std::optional<TreeIds>> known_ids(const Context& context, const std::string& path,
                                         const std::string& stat_cache_dir, unsigned threads) {
  const std::optional<TreeIds> unknown;
  std::error_code fault;
  if (!std::filesystem::is_directory(path, fault)) return unknown;
  const StatCache known = StatCache::load(stat_cache_dir, path);
  if (known.size() == 0) return unknown;
  ScanOptions options;
  options.threads = threads;
  auto scanned = scan_tree(context, path, options);
  if (!scanned && scanned.error().code() == Code::not_found) return unknown;
  THAW_ASSIGN(Scan scan, std::move(scanned));
  if (!stat_cache_works_on(scan.root.get())) return unknown;

  Tree& tree = scan.tree;
  std::unordered_map<Digest, uint32_t> numbers;
  for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
    Node& node = tree.nodes[i];
    if (!is_own_file(node)) continue;
    const StatRecord* record = known.find(scan.stats[i]);
    if (record == nullptr) return unknown;
    const auto [number, fresh] =
        numbers.try_emplace(record->digest, static_cast<uint32_t>(tree.contents.size()));
    if (fresh) tree.contents.push_back({record->digest, scan.stats[i].size_bytes});
    node.payload = number->second;
    if (const XattrSet* xattrs = known.xattrs_of(*record)) {
      node.xattrs = static_cast<uint32_t>(tree.xattr_sets.size());
      tree.xattr_sets.push_back(*xattrs);
    }
  }
  share_with_links(tree);  // or there are no ids to tell
  return std::optional<TreeIds>(ids_of(tree));
}

bool holds_anything(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code fault;
  const fs::file_status status = fs::status(path, fault);
  if (!fs::exists(status)) return false;
  if (!fs::is_directory(status)) return true;
  const fs::recursive_directory_iterator end;
  for (fs::recursive_directory_iterator each(path, fault); !fault && each != end;
       each.increment(fault)) {
    std::error_code gone;
    if (each->symlink_status(gone).type() != fs::file_type::directory) return true;
  }
  // What cannot be listed is the save's to tell.
  return static_cast<bool>(fault);
}

}  // namespace thaw::cache
