// ChunkCache: decoded, verified chunks in memory, within a bound, shared by all open snapshots.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/bytes.h"

namespace thaw {

// Which chunks stay is decided by CLOCK: a chunk that was looked up since the hand last passed it
// stays for another turn. So a hit writes one flag and moves nothing. Thread-safe; outlives its
// shelves. What was handed out stays valid, whatever is evicted.
class ChunkCache {
 private:
  struct Resident;

 public:
  explicit ChunkCache(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}
  ChunkCache(const ChunkCache&) = delete;
  ChunkCache& operator=(const ChunkCache&) = delete;

  uint64_t limit_bytes() const { return limit_bytes_; }
  uint64_t held_bytes() const;

  // The chunks of one snapshot, by number. Thread-safe. The destructor gives their memory back.
  class Shelf {
   public:
    Shelf(ChunkCache& cache, size_t chunk_count);
    Shelf(const Shelf&) = delete;
    Shelf& operator=(const Shelf&) = delete;
    ~Shelf();

    // Empty when the chunk is not there.
    Buffer find(uint32_t chunk);
    bool holds(uint32_t chunk);
    // Keeps a chunk (never empty), and evicts others until all fit. One that is larger than the
    // whole cache stays alone until the next one comes.
    void keep(uint32_t chunk, Buffer content);

   private:
    friend class ChunkCache;
    // Threads rarely meet at one of so many locks, and a snapshot has many more chunks.
    static constexpr size_t kLocks = 64;
    std::mutex& lock_of(uint32_t chunk) { return locks_[chunk % kLocks]; }

    ChunkCache& cache_;
    std::array<std::mutex, kLocks> locks_;
    std::vector<Resident*> slots_;
  };

 private:
  // In a ring, which the hand goes round.
  struct Resident {
    Shelf* shelf = nullptr;
    uint32_t chunk = 0;
    Buffer content;
    std::atomic<bool> used{false};
    Resident* next = nullptr;
    Resident* previous = nullptr;
  };

  // Each asks for mutex_ to be held. What is dropped is freed by the caller, without it.
  void link(Resident* resident);
  Resident* unlink(Resident* resident);
  void make_room(uint64_t bytes, std::vector<Resident*>& dropped);

  const uint64_t limit_bytes_;
  mutable std::mutex mutex_;  // taken before a shelf's lock
  Resident* hand_ = nullptr;
  uint64_t held_bytes_ = 0;
};

}  // namespace thaw
