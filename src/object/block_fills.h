// BlockFills: writes blocks into a tier behind the readers' backs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/task_group.h"
#include "format/tier_block.h"
#include "object/block_cache.h"
#include "object/block_flights.h"
#include "object/block_notes.h"
#include "object/tier_breaker.h"
#include "object/tier_room.h"

namespace thaw {

struct BlockFill {
  ObjectKey name;  // of the block, in the tier
  TierBlock block;
  Buffer data;
  std::unique_ptr<BlockClaims::Claim> claim;  // kept until the block is there, or dropped
};

// A bounded queue and a few threads, which start at the first fill. Thread-safe. What it is given
// outlives it. Blocks that do not fit, and those that are left after drain_time when it is
// destroyed, are dropped and counted.
class BlockFills {
 public:
  BlockFills(ObjectStore& fast, const BlockCacheOptions& options, TierBreaker& breaker,
             TierMeter& meter, BlockNotes& notes, BlockClaims* claims, const WallClock& clock,
             const Context& process);
  ~BlockFills();
  BlockFills(const BlockFills&) = delete;
  BlockFills& operator=(const BlockFills&) = delete;

  // Whether fills are written at present.
  bool active() const;
  // Whether blocks are ever kept: where not, it is no use to fetch more than is wanted.
  bool keeps() const;
  // Fills are to come: what the first one needs is made meanwhile. Never blocks.
  void prepare();
  // Blocks of one fetch, whose data all lie in one run of `held_bytes`: that is what the queue
  // keeps alive until the last of them is written. Never blocks. Precondition: each is valid, its
  // data as long as it says.
  void add(std::vector<BlockFill> fills, uint64_t held_bytes);
  // A block that waits to be written.
  std::optional<FetchedBlock> pending(const std::string& name) const;
  // A block, or all whose names begin so, is not written; where it is being written just now, it is
  // removed again.
  void forget(const std::string& name);
  void forget_prefix(std::string_view prefix);

 private:
  struct Fetch {
    uint64_t held_bytes;
    size_t left;  // blocks that are not finished
  };
  struct Item {
    BlockFill fill;
    std::shared_ptr<Fetch> fetch;
    bool forgotten = false;
  };
  using Items = std::unordered_map<std::string, std::shared_ptr<Item>>;

  bool start_threads();
  bool has_room(uint64_t bytes) const;
  Result<> work(const Context& context);
  Result<> mark(const Context& context);
  std::shared_ptr<Item> next();
  void finish(const std::shared_ptr<Item>& item);
  void write(const Context& context, const Item& item);
  Result<> store(const Context& context, const Item& item, bool& dropped);
  bool is_forgotten(const Item& item) const;
  void drop(size_t blocks);
  void drain();

  ObjectStore& fast_;
  const BlockCacheOptions& options_;
  TierBreaker& breaker_;
  TierMeter& meter_;
  BlockNotes& notes_;
  const Context& process_;
  TierRoom room_;
  std::atomic<bool> marked_{false};
  std::atomic<bool> preparing_{false};  // the first thread is to mark the tier
  bool prepared_ = false;

  mutable std::mutex mutex_;
  std::condition_variable ready_;  // something is queued, or it is over
  std::condition_variable idle_;   // everything is written
  std::deque<std::shared_ptr<Item>> queue_;
  Items pending_;  // queued or being written; the newest of a name
  uint64_t held_bytes_ = 0;
  size_t unfinished_ = 0;
  bool closed_ = false;
  std::unique_ptr<TaskGroup> threads_;
};

}  // namespace thaw
