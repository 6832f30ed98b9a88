// A tier: aligned blocks of the objects of one store, kept in another. See docs/format.md, "Blocks
// of tiers", and docs/decisions/0009.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "object/block_claims.h"
#include "object/block_notes.h"
#include "object/recency_index.h"
#include "object/store.h"
#include "object/tier_meter.h"

namespace thaw {

enum class TierFill { async, off };

// A plain value.
struct BlockCacheOptions {
  std::string store_name;  // of the slow store: two stores never share blocks
  uint32_t block_bytes = 4 * 1024 * 1024;
  TierFill fill = TierFill::async;
  // A read of the tier that takes longer counts as failed, and the store below is asked.
  std::chrono::milliseconds read_timeout{1000};
  // Whether a read asks the tier for the 64 KiB pieces that it needs (a directory), or for the
  // whole block at once (where each request is a round trip).
  bool reads_pieces = true;
  uint64_t fill_queue_bytes = 64 * 1024 * 1024;  // of what was fetched and waits to be written
  unsigned fill_threads = 2;
  std::chrono::milliseconds fill_timeout{10'000};  // of one block; longer counts as failed
  std::chrono::milliseconds drain_time{2000};      // for the queue, when the decorator is destroyed
  std::chrono::milliseconds claim_wait{2000};  // for another process that fetches the same block
  // Failures of the last twice as many calls that open the breaker, and the time until one probe is
  // let through; it doubles with each probe that fails (tier_breaker.h).
  unsigned breaker_failures = 3;
  std::chrono::milliseconds breaker_rest{5000};
  // Room for fills is made by removing what was used longest ago (tier_room.h); 0: no bound.
  uint64_t max_bytes = 0;
  BlockNotesOptions notes{};                      // for the index
  const WallClock* wall_clock = &system_clock();  // outlives the store; for the index
};

// Reads through: what `fast` has is taken from there, what it lacks is fetched from `slow` in whole
// blocks (neighbours in one request), answered, and kept by a detached fill. Kept are objects below
// "packs/" and "manifests/", which are write-once (the etag in an answer about one may be empty),
// reads that want a version, and first reads (Wanted::first) under the version that answers;
// everything else goes to `slow` alone. One fetch a block however many threads wait: each waits
// under its own context, and when the one that fetches fails or is cancelled another takes over
// (after two failures of the store the error is everybody's). A read with Freshness::origin asks
// `slow`, and removes the blocks that it covers from `fast`. An `index` (which may be null) is told
// what is used, filled and removed, behind the readers' backs. Nothing that `fast` does fails a
// read: its errors are counted in `meter` and logged. A read of `fast` ends in time as far as
// `fast` keeps its contexts' deadlines. `claims` may be null. `meter` and `process` (the context of
// fills) outlive the store. The destructor waits for fills and notes, at most for the drain_time of
// each. Precondition: block_bytes is a power of two from 64 KiB to 64 MiB.
std::unique_ptr<ObjectStore> block_cache(std::unique_ptr<ObjectStore> slow,
                                         std::unique_ptr<ObjectStore> fast,
                                         std::unique_ptr<BlockClaims> claims,
                                         BlockCacheOptions options, TierMeter& meter,
                                         const Context& process,
                                         std::unique_ptr<RecencyIndex> index = nullptr);

}  // namespace thaw
