// A tier over a store, both scripted, with objects to read.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "object/block_cache.h"
#include "object/memory.h"
#include "support/faulty_store.h"
#include "support/random_bytes.h"

namespace thaw::test {

// Another's store as one's own, which it outlives: for what is opened and closed again.
class BorrowedStore final : public ObjectStore {
 public:
  explicit BorrowedStore(ObjectStore& store) : store_(store) {}
  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    return store_.get(context, key, range, wanted);
  }
  Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                         PutMode mode) override {
    return store_.put(context, key, std::move(bytes), mode);
  }
  Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey& key) override {
    return store_.find(context, key);
  }
  Result<ListPage> list(const Context& context, std::string_view prefix,
                        ListOptions options) override {
    return store_.list(context, prefix, std::move(options));
  }
  Result<> remove(const Context& context, std::span<const ObjectKey> keys) override {
    return store_.remove(context, keys);
  }
  std::string describe() const override { return store_.describe(); }

 private:
  ObjectStore& store_;
};

inline std::unique_ptr<ObjectStore> borrowed(ObjectStore& store) {
  return std::make_unique<BorrowedStore>(store);
}

// Small blocks, no waits that a test would have to sit through.
inline BlockCacheOptions small_blocks() {
  BlockCacheOptions options;
  options.store_name = "memory:test";
  options.block_bytes = 128 * 1024;
  options.read_timeout = std::chrono::milliseconds(60'000);
  options.drain_time = std::chrono::milliseconds(60'000);
  options.breaker_rest = std::chrono::hours(1);
  return options;
}

struct TierStack {
  explicit TierStack(BlockCacheOptions options_wanted = small_blocks(),
                     std::unique_ptr<ObjectStore> fast_store = make_memory_store())
      : options(std::move(options_wanted)), fast(std::move(fast_store)) {
    open();
  }

  // As a new process would; what waited to be written is written first.
  void open(std::unique_ptr<BlockClaims> claims = nullptr) {
    cache.reset();
    cache = block_cache(faulty(borrowed(*slow), slow_faults), faulty(borrowed(*fast), fast_faults),
                        std::move(claims), options, meter, context);
  }
  // Until everything is written (or dropped).
  void settle() { open(); }

  // An object of random bytes below both.
  std::string add(const std::string& name, size_t size_bytes, uint64_t seed = 1) {
    const auto bytes = random_bytes(size_bytes, seed);
    const auto put = slow->put(context, key(name), Buffer::copy_of(bytes), PutMode::overwrite);
    if (!put) throw std::runtime_error(put.error().text());
    return std::string(as_text(bytes));
  }
  Result<Fetched> get(const std::string& name, ByteRange range = ByteRange::whole(),
                      const Wanted& wanted = Freshness::any) {
    return cache->get(context, key(name), range, wanted);
  }
  // Reads what is there, for what comes of that.
  void touch(const std::string& name, ByteRange range = ByteRange::whole()) {
    const auto got = get(name, range);
    EXPECT_TRUE(got.ok()) << (got.ok() ? "" : got.error().text());
  }
  // What it answers, or the error's text.
  std::string text(const std::string& name, ByteRange range = ByteRange::whole(),
                   const Wanted& wanted = Freshness::any) {
    const auto got = get(name, range, wanted);
    return got ? std::string(as_text(got->bytes.view())) : got.error().text();
  }
  ObjectVersion version(const std::string& name) {
    const auto info = slow->find(context, key(name)).value().value();
    return {info.etag, info.size_bytes};
  }
  std::vector<std::string> blocks() {
    std::vector<std::string> names;
    const auto page = fast->list(context, "blocks/", {});
    for (const Listed& each : page.value().objects) names.push_back(each.key.text());
    return names;
  }
  uint64_t fetches() const { return slow_faults.calls(Verb::get); }
  static ObjectKey key(const std::string& name) { return ObjectKey::parse(name).value(); }

  const Context context;
  BlockCacheOptions options;
  TierMeter meter;
  Faults slow_faults;
  Faults fast_faults;
  const std::unique_ptr<ObjectStore> slow = make_memory_store();
  const std::unique_ptr<ObjectStore> fast;
  std::unique_ptr<ObjectStore> cache;
};

}  // namespace thaw::test
