#include "gc/invalidate.h"

#include <algorithm>
#include <set>

#include "base/log.h"
#include "object/block_names.h"
#include "object/tier_marker.h"
#include "snapshot/catalog.h"

namespace thaw::gc {
namespace {

// What one generation needs; nothing where that cannot be read any more.
Result<std::set<std::string>> needs_of(const Context& context, ObjectStore& store,
                                       const Entry& entry) {
  std::set<std::string> needs;
  if (const auto* at = std::get_if<ManifestRef>(&entry.manifest))
    needs.insert(manifest_object(at->id).text());
  for (const PackShare& pack : entry.packs) needs.insert(pack_object(pack.id).text());
  if (!entry.packs.empty()) return needs;
  const auto packs = load_packs(context, store, entry);
  if (!packs && packs.error().code() != Code::corrupt) return packs.error();
  if (!packs) return needs;
  for (const PackRef& pack : *packs) needs.insert(pack_object(pack.id).text());
  return needs;
}

class Planner {
 public:
  Planner(const Context& context, ObjectStore& store) : context_(context), store_(store) {}

  Result<> take(const Key& key, std::optional<uint64_t> only) {
    RemovedKey removed{key, {}};
    THAW_ASSIGN(const auto numbers, generations_of(context_, store_, key));
    for (const uint64_t number : numbers) {
      const auto entry = find_generation(context_, store_, key, number);
      if (!entry && entry.error().code() != Code::corrupt) return entry.error();
      const bool goes = !only || *only == number;
      // One that cannot be read goes too.
      if (goes && (!entry || *entry)) removed.generations.push_back(number);
      if (!entry || !*entry) continue;
      THAW_ASSIGN(const auto needs, needs_of(context_, store_, **entry));
      (goes ? going_ : staying_).insert(needs.begin(), needs.end());
    }
    if (!removed.generations.empty()) removal_.keys.push_back(std::move(removed));
    return {};
  }

  Removal done() {
    for (const std::string& name : going_) {
      if (staying_.count(name) == 0) removal_.objects.push_back(*ObjectKey::parse(name));
    }
    return std::move(removal_);
  }

 private:
  const Context& context_;
  ObjectStore& store_;
  Removal removal_;
  std::set<std::string> going_;
  std::set<std::string> staying_;
};

// Everything below the prefix that `wanted` wants, a page at a time.
template <class Wanted>
Result<> drop_below(const Context& context, const CleanedTier& tier, const std::string& prefix,
                    const Wanted& wanted, Dropped& dropped) {
  ListOptions options;
  while (true) {
    THAW_ASSIGN(const ListPage page, tier.fast->list(context, prefix, options));
    std::vector<ObjectKey> blocks;
    for (const Listed& each : page.objects) {
      if (!wanted(each.key.text())) continue;
      blocks.push_back(each.key);
      dropped.bytes += each.info.size_bytes;
    }
    if (!blocks.empty()) THAW_CHECK(tier.fast->remove(context, blocks));
    dropped.blocks += blocks.size();
    if (tier.index != nullptr && !blocks.empty())
      THAW_CHECK(evict(*tier.index, context, blocks, system_clock().now()));
    if (!page.more || page.objects.empty()) return {};
    options.after = page.objects.back().key.text();
  }
}

}  // namespace

Result<Removal> plan_removal(const Context& context, ObjectStore& store, const KeyRef& ref) {
  THAW_ASSIGN(const StoreState state, find_store(context, store));
  Planner planner(context, store);
  if (state != StoreState::absent) THAW_CHECK(planner.take(ref.key, ref.generation));
  return planner.done();
}

Result<Removal> plan_removal_below(const Context& context, ObjectStore& store,
                                   std::string_view prefix) {
  THAW_ASSIGN(const StoreState state, find_store(context, store));
  Planner planner(context, store);
  if (state == StoreState::absent) return planner.done();
  THAW_ASSIGN(const std::vector<Key> keys, keys_below(context, store, prefix));
  for (const Key& key : keys) THAW_CHECK(planner.take(key, std::nullopt));
  return planner.done();
}

Result<uint64_t> execute(const Context& context, ObjectStore& store, const Removal& removal) {
  uint64_t retired = 0;
  for (const RemovedKey& each : removal.keys) {
    // Oldest first: stopped half-way, the newest still stands and nobody is given an older one.
    for (auto number = each.generations.rbegin(); number != each.generations.rend(); ++number) {
      THAW_ASSIGN(const bool was_there, retire(context, store, each.key, *number));
      retired += was_there ? 1 : 0;
    }
  }
  return retired;
}

Result<Dropped> drop_from_tier(const Context& context, const CleanedTier& tier,
                               const std::string& folder, const std::vector<ObjectKey>& objects,
                               std::string_view raw_prefix) {
  Dropped dropped;
  THAW_ASSIGN(const bool is_tier, check_tier(context, *tier.fast));
  if (!is_tier) return dropped;  // it never kept anything
  const auto is_block = [](const std::string& name) { return place_of_block(name).has_value(); };
  for (const ObjectKey& object : objects) {
    const std::string name = folder + "/" + object.text();
    THAW_CHECK(drop_below(context, tier, name + "/@/", is_block, dropped));
  }
  while (raw_prefix.ends_with('/')) raw_prefix.remove_suffix(1);
  if (raw_prefix.empty()) return dropped;
  const std::string name = folder + "/" + std::string(raw_prefix);
  // "build1" begins "build10" as well: whole segments alone.
  const auto is_covered = [&](const std::string& block) {
    const auto place = place_of_block(block);
    return place && prefix_covers(name, place->object);
  };
  THAW_CHECK(drop_below(context, tier, name, is_covered, dropped));
  // Also what it knows and the tier no longer has.
  if (tier.index != nullptr) {
    THAW_ASSIGN([[maybe_unused]] const uint64_t forgotten, tier.index->evict_prefix(context, name));
  }
  return dropped;
}

}  // namespace thaw::gc
