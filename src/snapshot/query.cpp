#include "snapshot/query.h"

#include <algorithm>
#include <mutex>
#include <set>

#include "base/task_group.h"
#include "snapshot/catalog.h"
#include "snapshot/fetch.h"

namespace thaw {
namespace {

// Whether an error lies in one object, so that others can still be listed.
bool is_of_the_object(Code code) {
  return code == Code::corrupt || code == Code::exhausted || code == Code::denied ||
         code == Code::invalid;
}

Result<Entry> require_entry(const Context& context, ObjectStore& store, const KeyRef& ref) {
  THAW_ASSIGN(const StoreState state, find_store(context, store));
  if (state != StoreState::absent) {
    THAW_ASSIGN(auto entry, find_entry(context, store, ref));
    if (entry) return *std::move(entry);
  }
  return Error(Code::not_found, "no snapshot of " + ref.text());
}

}  // namespace

Result<std::vector<KeyListing>> list_keys(const Context& context, ObjectStore& store,
                                          std::string_view prefix, unsigned threads) {
  THAW_ASSIGN(const StoreState state, find_store(context, store));
  if (state == StoreState::absent) return std::vector<KeyListing>();
  THAW_ASSIGN(std::vector<Key> keys, keys_below(context, store, prefix));
  std::vector<std::optional<KeyListing>> found(keys.size());
  THAW_CHECK(parallel_for(context, threads, keys.size(),
                          [&](const Context& inner, unsigned, size_t i) -> Result<> {
                            auto newest = find_newest(inner, store, keys[i]);
                            if (newest && *newest) {
                              found[i] = KeyListing{keys[i], **std::move(newest), ""};
                            } else if (!newest && is_of_the_object(newest.error().code())) {
                              found[i] = KeyListing{keys[i], std::nullopt, newest.error().text()};
                            } else if (!newest) {
                              return std::move(newest).error();
                            }
                            return {};
                          }));
  std::vector<KeyListing> listings;
  for (auto& each : found) {
    if (each) listings.push_back(*std::move(each));
  }
  return listings;
}

Result<Inspection> inspect(const Context& context, ObjectStore& store, const KeyRef& ref) {
  Inspection result;
  THAW_ASSIGN(result.entry, require_entry(context, store, ref));
  THAW_ASSIGN(const Manifest manifest, load_manifest(context, store, result.entry));
  if (const auto* at = std::get_if<ManifestRef>(&result.entry.manifest)) {
    result.manifest_bytes = at->size_bytes;
  } else {
    result.manifest_bytes = std::get<Buffer>(result.entry.manifest).size();
  }
  result.packs = manifest.layout.packs.size();
  result.chunks = manifest.layout.chunks.size();
  result.contents = manifest.tree.contents.size();
  for (const PackRef& pack : manifest.layout.packs) {
    result.stored_bytes += pack.live_stored_bytes;
    result.pack_bytes += pack.size_bytes;
  }
  THAW_ASSIGN(const Key key, Key::parse(result.entry.key));
  THAW_ASSIGN(const std::vector<uint64_t> numbers, generations_of(context, store, key));
  for (const uint64_t number : numbers) {
    const auto live = find_generation(context, store, key, number);
    if (live && *live) result.generations.push_back(number);
  }
  return result;
}

namespace {

// Walks two trees in canonical order side by side.
class TreeDiff {
 public:
  TreeDiff(const Tree& from, const Tree& to) : from_(from), to_(to) {}

  std::vector<Difference> run() {
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < from_.nodes.size() || j < to_.nodes.size()) {
      const int order = compare(i, j);
      if (order < 0) {
        add(Change::removed, from_, i++);
      } else if (order > 0) {
        add(Change::added, to_, j++);
      } else {
        both(i++, j++);
      }
    }
    return std::move(differences_);
  }

 private:
  static std::vector<std::string_view> components(const Tree& tree, uint32_t index) {
    std::vector<std::string_view> names;
    for (; index != 0; index = tree.nodes[index].parent) names.push_back(tree.name(index));
    std::reverse(names.begin(), names.end());
    return names;
  }
  int compare(uint32_t i, uint32_t j) const {
    if (i == from_.nodes.size()) return 1;
    if (j == to_.nodes.size()) return -1;
    const auto a = components(from_, i);
    const auto b = components(to_, j);
    return a < b ? -1 : b < a ? 1 : 0;
  }
  void add(Change change, const Tree& tree, uint32_t index) {
    differences_.push_back({change, index == 0 ? "." : tree.path(index)});
  }
  bool same_content(const Node& a, const Node& b) const {
    if (a.is_file()) return from_.contents[from_.content_of(a)] == to_.contents[to_.content_of(b)];
    const Node& x = a.is_link() ? from_.nodes[a.link_to] : a;
    const Node& y = b.is_link() ? to_.nodes[b.link_to] : b;
    if (a.is_symlink()) return from_.targets[x.payload] == to_.targets[y.payload];
    if (a.is_device()) return from_.devices[x.payload] == to_.devices[y.payload];
    return true;
  }
  void both(uint32_t i, uint32_t j) {
    const Node& a = from_.nodes[i];
    const Node& b = to_.nodes[j];
    static const XattrSet kNothing;
    const XattrSet& left = a.xattrs == kNone ? kNothing : from_.xattr_sets[a.xattrs];
    const XattrSet& right = b.xattrs == kNone ? kNothing : to_.xattr_sets[b.xattrs];
    if ((a.mode & S_IFMT) != (b.mode & S_IFMT)) {
      add(Change::type, to_, j);
    } else if (!same_content(a, b)) {
      add(Change::content, to_, j);
    } else if (a.mode != b.mode || a.owner != b.owner || a.mtime_ns != b.mtime_ns ||
               left != right) {
      add(Change::metadata, to_, j);
    }
  }

  const Tree& from_;
  const Tree& to_;
  std::vector<Difference> differences_;
};

}  // namespace

Result<std::vector<Difference>> diff(const Context& context, ObjectStore& store, const KeyRef& from,
                                     const KeyRef& to) {
  THAW_ASSIGN(const Entry left, require_entry(context, store, from));
  THAW_ASSIGN(const Entry right, require_entry(context, store, to));
  if (left.ids == right.ids) return std::vector<Difference>();
  THAW_ASSIGN(const Manifest a, load_manifest(context, store, left));
  THAW_ASSIGN(const Manifest b, load_manifest(context, store, right));
  return TreeDiff(a.tree, b.tree).run();
}

}  // namespace thaw
