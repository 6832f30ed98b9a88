// A store that passes everything on: a test's own stores override what they are about.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "object/store.h"

namespace thaw::test {

class PassingStore : public ObjectStore {
 public:
  explicit PassingStore(std::unique_ptr<ObjectStore> store) : store_(std::move(store)) {}

  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    return store_->get(context, key, range, wanted);
  }
  Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                         PutMode mode) override {
    return store_->put(context, key, std::move(bytes), mode);
  }
  Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey& key) override {
    return store_->find(context, key);
  }
  Result<ListPage> list(const Context& context, std::string_view prefix,
                        ListOptions options) override {
    return store_->list(context, prefix, std::move(options));
  }
  Result<> remove(const Context& context, std::span<const ObjectKey> keys) override {
    return store_->remove(context, keys);
  }
  std::string describe() const override { return "passing over " + store_->describe(); }

 protected:
  ObjectStore& inner() { return *store_; }

 private:
  const std::unique_ptr<ObjectStore> store_;
};

}  // namespace thaw::test
