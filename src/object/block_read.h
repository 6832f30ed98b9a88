// One get through a tier. Internal to block_cache.
#pragma once

#include "object/block_cache.h"
#include "object/block_fills.h"
#include "object/block_flights.h"
#include "object/tier_reads.h"

namespace thaw {

// What a tier is made of; all thread-safe.
struct TierParts {
  ObjectStore& slow;
  ObjectStore& fast;
  BlockClaims* claims;  // may be null
  const BlockCacheOptions& options;
  TierMeter& meter;
  BlockFlights& flights;
  TierReads& reads;
  BlockFills& fills;
};

// ObjectStore::get of an object whose blocks may be kept. Preconditions: `range` is from the
// object's start and not empty; `wanted` lets tiers answer.
Result<Fetched> read_through(const Context& context, const TierParts& parts, TieredObject object,
                             const ByteRange& range, const Wanted& wanted);

// One ranged get below takes no more; also how many blocks are looked after at once.
inline constexpr uint64_t kTierFetchBytes = 16 * 1024 * 1024;

// Whether a get below answered all that it should of a range that begins with a block; what came is
// counted. Code::unavailable otherwise.
Result<> check_fetched(const TierParts& parts, const ObjectKey& key, const ByteRange& range,
                       const Fetched& fetched);
// What came as blocks to be kept, from block `first` on.
std::vector<BlockFill> fills_of(const TieredObject& object, uint64_t first, const Fetched& fetched);

}  // namespace thaw
