#include "object/tier_room.h"

#include <algorithm>

#include "object/block_names.h"

namespace thaw {
namespace {

constexpr size_t kBatch = 64;     // blocks that go at once
constexpr size_t kOldest = 1024;  // found by one listing
// An index that knows of less than one in so many that it knew of was lost.
constexpr uint64_t kLost = 4;
// No block: an index knows of it (with no size, so in no sum) while it is told what the tier holds.
// Where that was cut short, it still does, and is told again.
constexpr const char* kAdopting = "blocks/0000000000000000/adopting/@/once-64/0";

}  // namespace

Result<bool> TierRoom::make(const Context& context, const ObjectKey& block, uint64_t bytes) {
  if (max_bytes_ == 0) return true;
  if (bytes > max_bytes_) return false;
  return tier_.index != nullptr ? make_by_index(context, block, bytes)
                                : make_by_age(context, bytes);
}

void TierRoom::give_back(const Context& context, const ObjectKey& block, uint64_t bytes) {
  if (max_bytes_ == 0) return;
  if (tier_.index == nullptr) return usage_.give_back(bytes);
  if (!evict(*tier_.index, context, std::span(&block, 1), clock_.now()))
    meter_.index_failures.fetch_add(1, std::memory_order_relaxed);
}

void TierRoom::count(const Evicted& evicted) {
  meter_.evicted.fetch_add(evicted.blocks, std::memory_order_relaxed);
  meter_.evicted_bytes.fetch_add(evicted.bytes, std::memory_order_relaxed);
}

// --- with an index

Result<bool> TierRoom::make_by_index(const Context& context, const ObjectKey& block,
                                     uint64_t bytes) {
  THAW_CHECK(adopt_if_new(context));
  const AdmittedBlock admitted{block, bytes};
  THAW_CHECK(admit(*tier_.index, context, std::span(&admitted, 1), clock_.now()));
  THAW_ASSIGN(IndexUsage usage, tier_.index->usage(context, UsageOf::all()));
  if (was_lost(usage)) {
    const std::lock_guard lock(mutex_);
    THAW_ASSIGN(usage, tier_.index->usage(context, UsageOf::all()));
    if (was_lost(usage)) {
      seen_ = 0;
      THAW_CHECK(adopt(context));
      THAW_ASSIGN(usage, tier_.index->usage(context, UsageOf::all()));
    }
  }
  if (usage.bytes <= max_bytes_) return true;
  const std::lock_guard lock(mutex_);
  const auto evicted = evict_coldest(context, block);
  if (evicted) {
    THAW_ASSIGN(usage, tier_.index->usage(context, UsageOf::all()));
    if (usage.bytes <= max_bytes_) return true;
  }
  give_back(context, block, bytes);
  if (!evicted) return evicted.error();
  return false;
}

Result<> TierRoom::evict_coldest(const Context& context, const ObjectKey& but) {
  std::string after;
  while (true) {
    THAW_ASSIGN(const IndexUsage usage, tier_.index->usage(context, UsageOf::all()));
    if (usage.bytes <= low_water()) return {};
    const Timestamp now = clock_.now();
    THAW_ASSIGN(const ColdPage page, tier_.index->coldest(context, kEver, kBatch, after));
    std::vector<ColdBlock> cold;
    uint64_t bytes = 0;
    for (const IndexedBlock& each : page.blocks) {
      if (each.block == but || usage.bytes - std::min(usage.bytes, bytes) <= low_water()) continue;
      bytes += each.bytes.value_or(0);
      cold.push_back({each.block, each.last_use, each.bytes.value_or(0)});
    }
    THAW_ASSIGN(const Evicted evicted, evict_unused(context, tier_, cold, now));
    count(evicted);
    // What is in use lies at the beginning: beyond it there may be more.
    after = page.next;
    if (after.empty()) return {};
  }
}

// Far less than it knew: somebody deleted it, or it was damaged and begun anew.
bool TierRoom::was_lost(const IndexUsage& usage) {
  uint64_t seen = seen_;
  while (seen < usage.blocks && !seen_.compare_exchange_weak(seen, usage.blocks)) {
  }
  return usage.blocks < seen / kLost;
}

// An index that is new, or was lost, knows nothing of what the tier holds: then it is told. One
// that knows something may have lost who was telling it.
Result<> TierRoom::adopt_if_new(const Context& context) {
  const std::lock_guard lock(mutex_);
  if (looked_) return {};
  THAW_ASSIGN(const IndexUsage usage, tier_.index->usage(context, UsageOf::all()));
  const ObjectKey adopting = *ObjectKey::parse(kAdopting);
  THAW_ASSIGN(const auto begun, tier_.index->last_use(context, std::span(&adopting, 1)));
  if (usage.blocks == 0 || begun.front()) THAW_CHECK(adopt(context));
  looked_ = true;
  return {};
}

// Under the mutex.
Result<> TierRoom::adopt(const Context& context) {
  const ObjectKey adopting = *ObjectKey::parse(kAdopting);
  bool begun = false;
  ListOptions options;
  while (true) {
    THAW_ASSIGN(const ListPage page, tier_.fast->list(context, "blocks/", options));
    std::vector<BlockNote> notes;
    // Names of others are left to who cleans.
    for (const Listed& each : page.objects) {
      if (!place_of_block(each.key.text())) continue;
      notes.push_back({BlockNote::Kind::admit, each.key, each.info.modified,
                       std::min(each.info.size_bytes, kIndexedBytesMost)});
    }
    if (page.more && !begun) {
      THAW_CHECK(touch(*tier_.index, context, std::span(&adopting, 1), clock_.now()));
      begun = true;
    }
    if (!notes.empty()) THAW_CHECK(tier_.index->apply(context, notes));
    if (!page.more || page.objects.empty()) break;
    options.after = page.objects.back().key.text();
  }
  // Also one that another process left behind.
  return evict(*tier_.index, context, std::span(&adopting, 1), clock_.now());
}

// --- without one

Result<bool> TierRoom::make_by_age(const Context& context, uint64_t bytes) {
  THAW_ASSIGN(bool taken, usage_.take(context, bytes));
  if (taken) return true;
  const std::lock_guard lock(mutex_);
  THAW_ASSIGN(taken, usage_.take(context, bytes));  // somebody else has made room
  if (taken) return true;
  OldestBlocks oldest(kOldest);
  uint64_t held = 0;
  ListOptions options;
  while (true) {
    THAW_ASSIGN(const ListPage page, tier_.fast->list(context, "blocks/", options));
    for (const Listed& each : page.objects) {
      held += each.info.size_bytes;
      oldest.offer(each);
    }
    if (!page.more || page.objects.empty()) break;
    options.after = page.objects.back().key.text();
  }
  const uint64_t wanted = low_water() - std::min(low_water(), bytes);
  const std::vector<ColdBlock> blocks = oldest.take();
  size_t going = 0;
  uint64_t freed = 0;
  while (going < blocks.size() && held - std::min(held, freed) > wanted)
    freed += blocks[going++].bytes;
  THAW_ASSIGN(const Evicted evicted,
              evict_unused(context, tier_, std::span(blocks).first(going), clock_.now()));
  count(evicted);
  usage_.set(held - std::min(held, evicted.bytes));
  return usage_.take(context, bytes);
}

}  // namespace thaw
