// TierReads: looks blocks up in a tier, and believes nothing that does not match its sums.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "format/tier_block.h"
#include "object/block_cache.h"
#include "object/block_names.h"
#include "object/block_notes.h"
#include "object/tier_breaker.h"

namespace thaw {

// An object of which blocks are wanted. A plain value.
struct TieredObject {
  ObjectKey key;
  BlockNames names;
  uint32_t block_bytes;
  std::string etag;                      // empty when it is write-once
  std::optional<uint64_t> object_bytes;  // where it is known
};

struct TierHit {
  Buffer bytes;
  ObjectInfo info;
};

// Thread-safe. What it is given outlives it.
class TierReads {
 public:
  TierReads(ObjectStore& fast, const BlockCacheOptions& options, TierBreaker& breaker,
            TierMeter& meter, BlockNotes& notes)
      : fast_(fast), options_(options), breaker_(breaker), meter_(meter), notes_(notes) {}

  // The bytes [from, to) of a block's data; fewer where it ends before. Empty when the tier does
  // not have it, whatever the reason: a block that is not what it says is removed and counted,
  // other failures are counted. An error is the end of `context`.
  Result<std::optional<TierHit>> look(const Context& context, const TieredObject& object,
                                      uint64_t number, uint32_t from, uint32_t to);
  // Whether looks may be many at once.
  bool steady() const { return breaker_.is_steady(); }
  // Looks beside a reader's own one, of a few that all readers share: who is alone gets them all,
  // and a tier that begins to fail has few more requests to answer than there are readers.
  class Extra {
   public:
    Extra(TierReads& reads, unsigned wanted);
    Extra(const Extra&) = delete;
    Extra& operator=(const Extra&) = delete;
    ~Extra() { reads_.extra_.fetch_add(count_, std::memory_order_relaxed); }
    unsigned count() const { return count_; }

   private:
    TierReads& reads_;
    unsigned count_;
  };
  // Removes blocks, as far as that works.
  void remove(const Context& context, std::span<const ObjectKey> blocks);

 private:
  using Header = std::shared_ptr<const TierBlockHeader>;

  // Headers that were checked, so that a read of a few pieces is one request and hashes no more
  // than those. A stale one does no harm: the data is compared with its sums in any case.
  class Headers {
   public:
    Header find(const std::string& block);
    void keep(const std::string& block, Header header);
    void forget(const std::string& block);

   private:
    std::mutex mutex_;
    // When the young ones are many, they become the old ones, and the old ones go.
    std::unordered_map<std::string, Header> young_, old_;
  };

  Result<TierHit> read(const Context& context, const TieredObject& object, const ObjectKey& name,
                       uint64_t number, uint32_t from, uint32_t to);
  Result<TierHit> read_data(const Context& context, const ObjectKey& block,
                            const TierBlockHeader& header, uint32_t from, uint32_t to);

  ObjectStore& fast_;
  const BlockCacheOptions& options_;
  TierBreaker& breaker_;
  TierMeter& meter_;
  BlockNotes& notes_;
  Headers headers_;
  // With a read's own it is the four blocks of 4 MiB that one read looks after at once.
  std::atomic<unsigned> extra_{3};
};

}  // namespace thaw
