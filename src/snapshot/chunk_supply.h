// The chunks of one snapshot: from memory, or fetched once for all who want them at the same time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/context.h"
#include "snapshot/chunk_cache.h"
#include "snapshot/flight.h"
#include "snapshot/frame_fetch.h"

namespace thaw {

// Every chunk that it gives out was verified. Thread-safe; everything passed in outlives it.
class ChunkSupply {
 public:
  ChunkSupply(ObjectStore& store, const Manifest& manifest, ChunkCache& cache,
              const KnownDamage& damage, FetchAllowance& allowance)
      : manifest_(manifest),
        frames_(store, manifest.layout, damage, allowance),
        shelf_(cache, manifest.layout.chunks.size()) {}

  // From memory; empty when it is not there.
  Buffer find(uint32_t chunk) { return shelf_.find(chunk); }
  bool holds(uint32_t chunk) { return shelf_.holds(chunk); }

  // Takes one chunk. Called once for each, on several threads.
  using Use = std::function<void(uint32_t chunk, const Buffer& content)>;
  // Gives each of these chunks (no number twice) to `use`. What nobody else is fetching it fetches,
  // neighbours in a pack by one request; for the rest it waits, under its own context. Where
  // another thread's fetch fails or is cancelled, one of those who wait takes over.
  Result<> obtain(const Context& context, std::vector<uint32_t> chunks, const Use& use);
  // Fetches those that are neither in memory nor being fetched.
  Result<> fetch_ahead(const Context& context, std::span<const uint32_t> chunks);

 private:
  using ChunkFlight = Flight<Buffer>;
  struct Claimed {
    uint32_t chunk;
    std::shared_ptr<ChunkFlight> flight;
    bool ended = false;
  };
  struct Claims {
    std::vector<Claimed> own;     // to be fetched, by whoever asked, and ended in any case
    std::vector<Claimed> others;  // being fetched
    std::vector<std::pair<uint32_t, Buffer>> held;
  };
  Claims claim(std::span<const uint32_t> chunks);
  void end(Claimed& claimed, Result<Buffer> outcome);

  Result<> fetch(const Context& context, std::vector<Claimed> claims, const Use& use);
  Result<> fetch_range(const Context& context, const FetchRange& range, std::span<Claimed> claims,
                       const Use& use);
  Result<Buffer> decode(const Context& context, uint32_t chunk, Bytes stored);
  std::span<const ChunkUse> files_in(uint32_t bundle);

  const Manifest& manifest_;
  const FrameFetch frames_;
  ChunkCache::Shelf shelf_;
  std::mutex mutex_;
  std::unordered_map<uint32_t, std::shared_ptr<ChunkFlight>> flights_;
  // The files in each bundle, which are what verifies it. Made when the first one is decoded.
  std::once_flag files_made_;
  std::vector<uint32_t> files_begin_;  // per chunk, and one more
  std::vector<ChunkUse> files_;
};

}  // namespace thaw
