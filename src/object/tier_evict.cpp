#include "object/tier_evict.h"

#include <algorithm>
#include <memory>

namespace thaw {

Result<Evicted> evict_unused(const Context& context, const CleanedTier& tier,
                             std::span<const ColdBlock> blocks, Timestamp now) {
  Evicted evicted;
  std::vector<ObjectKey> names;
  names.reserve(blocks.size());
  for (const ColdBlock& each : blocks) names.push_back(each.block);
  std::vector<std::optional<Timestamp>> uses(blocks.size());
  if (tier.index != nullptr) {
    THAW_ASSIGN(uses, tier.index->last_use(context, names));
  }
  std::vector<ObjectKey> chosen;
  std::vector<BlockNote> forgotten;
  std::vector<std::unique_ptr<BlockClaims::Claim>> claims;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const ColdBlock& each = blocks[i];
    const bool used_since = uses[i] && (!each.last_use || *uses[i] > *each.last_use);
    if (used_since) {
      ++evicted.recent;
      continue;
    }
    if (tier.claims != nullptr) {
      auto claim = tier.claims->try_claim(each.block.text());
      // Where nothing can be claimed, nobody claims.
      if (claim && !*claim) {
        ++evicted.claimed;
        continue;
      }
      if (claim) claims.push_back(*std::move(claim));
    }
    chosen.push_back(each.block);
    // A use by a clock that ran ahead is over as well.
    const Timestamp at = std::max(now, uses[i].value_or(now));
    forgotten.push_back({BlockNote::Kind::evict, each.block, at});
    evicted.bytes += each.bytes;
  }
  if (chosen.empty()) return evicted;
  THAW_CHECK(tier.fast->remove(context, chosen));
  evicted.blocks = chosen.size();
  if (tier.index != nullptr) THAW_CHECK(tier.index->apply(context, forgotten));
  return evicted;
}

void OldestBlocks::offer(const Listed& block) {
  const Timestamp modified = block.info.modified;
  if (heap_.size() == most_ && (most_ == 0 || modified >= heap_.front().modified)) return;
  if (heap_.size() == most_) {
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.pop_back();
  }
  heap_.push_back({modified, {block.key, std::nullopt, block.info.size_bytes}});
  std::push_heap(heap_.begin(), heap_.end());
}

std::vector<ColdBlock> OldestBlocks::take() {
  std::sort_heap(heap_.begin(), heap_.end());
  std::vector<ColdBlock> blocks;
  blocks.reserve(heap_.size());
  for (Aged& each : heap_) blocks.push_back(std::move(each.block));
  heap_.clear();
  return blocks;
}

}  // namespace thaw
