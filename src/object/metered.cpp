#include "object/metered.h"

namespace thaw {
namespace {

class MeteredStore final : public ObjectStore {
 public:
  MeteredStore(std::unique_ptr<ObjectStore> store, StoreMeter& meter)
      : store_(std::move(store)), meter_(meter) {}

  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    auto fetched = counted(meter_.gets, store_->get(context, key, range, wanted));
    if (fetched) add(meter_.fetched_bytes, fetched->bytes.size());
    return fetched;
  }

  Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                         PutMode mode) override {
    const size_t size_bytes = bytes.size();
    auto outcome = counted(meter_.puts, store_->put(context, key, std::move(bytes), mode));
    if (outcome && *outcome == PutOutcome::stored) add(meter_.stored_bytes, size_bytes);
    return outcome;
  }

  Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey& key) override {
    return counted(meter_.finds, store_->find(context, key));
  }

  Result<ListPage> list(const Context& context, std::string_view prefix,
                        ListOptions options) override {
    return counted(meter_.lists, store_->list(context, prefix, std::move(options)));
  }

  Result<> remove(const Context& context, std::span<const ObjectKey> keys) override {
    return counted(meter_.removes, store_->remove(context, keys));
  }

  std::string describe() const override { return "metered over " + store_->describe(); }

 private:
  static void add(std::atomic<uint64_t>& counter, uint64_t n) {
    counter.fetch_add(n, std::memory_order_relaxed);
  }

  template <class T>
  Result<T> counted(std::atomic<uint64_t>& calls, Result<T> result) {
    add(calls, 1);
    if (!result && result.error().code() != Code::not_found) add(meter_.errors, 1);
    if (!result && result.error().code() == Code::invalid) add(meter_.refused, 1);
    return result;
  }

  const std::unique_ptr<ObjectStore> store_;
  StoreMeter& meter_;
};

}  // namespace

std::unique_ptr<ObjectStore> metered(std::unique_ptr<ObjectStore> store, StoreMeter& meter) {
  return std::make_unique<MeteredStore>(std::move(store), meter);
}

}  // namespace thaw
