#include "object/tier_room.h"

#include <algorithm>

namespace thaw {
namespace {

constexpr size_t kBatch = 64;     // blocks that go at once
constexpr size_t kOldest = 1024;  // found by one listing

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
  THAW_CHECK(adopt(context));
  const AdmittedBlock admitted{block, bytes};
  THAW_CHECK(admit(*tier_.index, context, std::span(&admitted, 1), clock_.now()));
  THAW_ASSIGN(IndexUsage usage, tier_.index->usage(context, UsageOf::all()));
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
    THAW_ASSIGN(const ColdPage page, tier_.index->coldest(context, now, kBatch, after));
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

// An index that is new, or was lost, knows nothing of what the tier holds: then it is told.
Result<> TierRoom::adopt(const Context& context) {
  const std::lock_guard lock(mutex_);
  if (adopted_) return {};
  THAW_ASSIGN(const IndexUsage usage, tier_.index->usage(context, UsageOf::all()));
  ListOptions options;
  while (usage.blocks == 0) {
    THAW_ASSIGN(const ListPage page, tier_.fast->list(context, "blocks/", options));
    std::vector<BlockNote> notes;
    for (const Listed& each : page.objects) {
      notes.push_back({BlockNote::Kind::admit, each.key, each.info.modified, each.info.size_bytes});
    }
    // Names of others are left to who cleans.
    if (!notes.empty()) {
      const auto applied = tier_.index->apply(context, notes);
      if (!applied && applied.error().code() != Code::invalid) return applied.error();
    }
    if (!page.more || page.objects.empty()) break;
    options.after = page.objects.back().key.text();
  }
  adopted_ = true;
  return {};
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
