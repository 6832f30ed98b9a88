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

}  // namespace thaw
