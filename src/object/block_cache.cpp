#include "object/block_cache.h"

#include <algorithm>
#include <vector>

#include "base/log.h"
#include "object/block_fills.h"
#include "object/block_first.h"
#include "object/block_flights.h"
#include "object/block_names.h"
#include "object/block_read.h"
#include "object/tier_breaker.h"
#include "object/tier_patience.h"
#include "object/tier_reads.h"

namespace thaw {
namespace {

// More blocks than this are found by their prefix.
constexpr uint64_t kMostNamed = 64;
constexpr int kMostPages = 64;

class BlockCache final : public ObjectStore {
 public:
  BlockCache(std::unique_ptr<ObjectStore> slow, std::unique_ptr<ObjectStore> fast,
             std::unique_ptr<BlockClaims> claims, BlockCacheOptions options, TierMeter& meter,
             const Context& process, std::unique_ptr<RecencyIndex> index)
      : slow_(std::move(slow)),
        fast_(std::move(fast)),
        claims_(std::move(claims)),
        options_(std::move(options)),
        breaker_(options_.breaker_failures, options_.breaker_rest),
        notes_(std::move(index), options_.notes, *options_.wall_clock, meter, process),
        reads_(*fast_, options_, breaker_, meter, notes_),
        fills_(*fast_, options_, breaker_, meter, notes_, claims_.get(), *options_.wall_clock,
               process),
        parts_{*slow_, *fast_, claims_.get(), options_, meter, flights_, reads_, fills_} {}

  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    auto names = BlockNames::of(options_.store_name, key, wanted.version, options_.block_bytes);
    if (!names) {
      const bool adopts = wanted.adopts == Adopts::yes && wanted.freshness == Freshness::any &&
                          !wanted.version && range.from == ByteRange::From::start;
      if (adopts && range.length != 0) return read_first(context, parts_, key, range);
      return slow_->get(context, key, range, wanted);
    }
    TieredObject object{key, *std::move(names), options_.block_bytes, "", std::nullopt};
    if (wanted.version) {
      object.etag = wanted.version->etag;
      object.object_bytes = wanted.version->size_bytes;
    }
    if (wanted.freshness == Freshness::origin) {
      forget(context, object, range);
      return slow_->get(context, key, range, wanted);
    }
    if (range.from == ByteRange::From::end || range.length == 0) {
      return slow_->get(context, key, range, wanted);
    }
    return read_through(context, parts_, std::move(object), range, wanted);
  }

  Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                         PutMode mode) override {
    return slow_->put(context, key, std::move(bytes), mode);
  }

  Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey& key) override {
    return slow_->find(context, key);
  }

  Result<ListPage> list(const Context& context, std::string_view prefix,
                        ListOptions options) override {
    return slow_->list(context, prefix, std::move(options));
  }

  Result<> remove(const Context& context, std::span<const ObjectKey> keys) override {
    return slow_->remove(context, keys);
  }

  std::string describe() const override {
    const std::string index = notes_.describe();
    return fast_->describe() + (index.empty() ? "" : " with " + index) + " over " +
           slow_->describe();
  }

 private:
  void forget(const Context& context, const TieredObject& object, const ByteRange& range);
  void forget_all(const Context& context, const TieredObject& object);

  const std::unique_ptr<ObjectStore> slow_;
  const std::unique_ptr<ObjectStore> fast_;
  const std::unique_ptr<BlockClaims> claims_;
  const BlockCacheOptions options_;
  TierBreaker breaker_;
  BlockFlights flights_;
  BlockNotes notes_;  // of reads and fills, which end before it
  TierReads reads_;
  BlockFills fills_;  // holds claims, and uses all of the above until its end
  const TierParts parts_;
};

// Removes the blocks that the range covers, as far as that works.
void BlockCache::forget(const Context& context, const TieredObject& object,
                        const ByteRange& range) {
  const uint64_t size_bytes = object.object_bytes.value_or(UINT64_MAX);
  const uint64_t block = options_.block_bytes;
  if (range.from == ByteRange::From::end || range.offset >= size_bytes || range.length == 0) {
    return forget_all(context, object);
  }
  const uint64_t length = std::min(range.length, size_bytes - range.offset);
  const uint64_t first = range.offset / block;
  const uint64_t last = (range.offset + (length - 1)) / block;
  if (last - first >= kMostNamed) return forget_all(context, object);
  std::vector<ObjectKey> blocks;
  for (uint64_t number = first; number <= last; ++number) {
    blocks.push_back(object.names.block(number));
    fills_.forget(blocks.back().text());
  }
  if (breaker_.is_closed()) reads_.remove(context, blocks);
}

void BlockCache::forget_all(const Context& context, const TieredObject& object) {
  fills_.forget_prefix(object.names.prefix());
  const Context limited = context.within(patience(context, options_.read_timeout));
  ListOptions options;
  for (int pages = 0; pages < kMostPages && breaker_.is_closed(); ++pages) {
    const auto page = fast_->list(limited, object.names.prefix(), options);
    if (!page) {
      log::info("{}: {}", fast_->describe(), page.error().text());
      return;
    }
    std::vector<ObjectKey> blocks;
    for (const Listed& each : page->objects) blocks.push_back(each.key);
    if (!blocks.empty()) reads_.remove(context, blocks);
    if (!page->more) return;
    options.after = blocks.back().text();
  }
}

}  // namespace

std::unique_ptr<ObjectStore> block_cache(std::unique_ptr<ObjectStore> slow,
                                         std::unique_ptr<ObjectStore> fast,
                                         std::unique_ptr<BlockClaims> claims,
                                         BlockCacheOptions options, TierMeter& meter,
                                         const Context& process,
                                         std::unique_ptr<RecencyIndex> index) {
  return std::make_unique<BlockCache>(std::move(slow), std::move(fast), std::move(claims),
                                      std::move(options), meter, process, std::move(index));
}

}  // namespace thaw
