#include "support/faulty_store.h"

#include <algorithm>

namespace thaw::test {

void Faults::on_call(Hook hook) {
  const std::lock_guard lock(mutex_);
  hooks_.push_back(std::move(hook));
}

void Faults::fail(Verb verb, uint64_t nth, When when, Error error) {
  const uint64_t number = calls(verb) + nth;
  on_call([=](const Call& call) -> Result<> {
    if (call.verb == verb && call.number == number && call.when == when) return error;
    return {};
  });
}

void Faults::change_get(uint64_t nth, std::function<Buffer(Buffer)> change) {
  const std::lock_guard lock(mutex_);
  get_changes_.push_back({calls_.at(static_cast<size_t>(Verb::get)) + nth, std::move(change)});
}

void Faults::fail_all(Error error) {
  on_call([=](const Call& call) -> Result<> {
    if (call.when == When::before) return error;
    return {};
  });
}

void Faults::heal() {
  const std::lock_guard lock(mutex_);
  hooks_.clear();
  get_changes_.clear();
}

uint64_t Faults::calls(Verb verb) const {
  const std::lock_guard lock(mutex_);
  return calls_.at(static_cast<size_t>(verb));
}

Call Faults::begin(Verb verb, std::string name, bool is_create) {
  const std::lock_guard lock(mutex_);
  return {verb, When::before, ++calls_.at(static_cast<size_t>(verb)), std::move(name), is_create};
}

Result<> Faults::at(Call call, When when) {
  call.when = when;
  std::vector<Hook> hooks;
  {
    const std::lock_guard lock(mutex_);
    hooks = hooks_;  // a hook may block, and may add hooks
  }
  for (const Hook& hook : hooks) THAW_CHECK(hook(call));
  return {};
}

Buffer Faults::changed(uint64_t number, Buffer bytes) {
  const std::lock_guard lock(mutex_);
  for (const GetChange& each : get_changes_) {
    if (each.number == number) bytes = each.change(std::move(bytes));
  }
  return bytes;
}

std::function<Buffer(Buffer)> truncated_to(size_t size_bytes) {
  return [=](const Buffer& bytes) { return bytes.slice(0, std::min(size_bytes, bytes.size())); };
}

std::function<Buffer(Buffer)> with_flipped_byte(size_t offset) {
  return [=](const Buffer& bytes) {
    ByteVector copy;
    copy.append(bytes.view());
    if (!copy.empty()) copy.span()[std::min(offset, copy.size() - 1)] ^= 1;
    return Buffer(std::move(copy));
  };
}

class FaultyStore final : public ObjectStore {
 public:
  FaultyStore(std::unique_ptr<ObjectStore> store, Faults& faults)
      : store_(std::move(store)), faults_(faults) {}

  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    const Call call = faults_.begin(Verb::get, key.text(), false);
    auto fetched = around(call, [&] { return store_->get(context, key, range, wanted); });
    if (fetched) fetched->bytes = faults_.changed(call.number, std::move(fetched->bytes));
    return fetched;
  }

  Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                         PutMode mode) override {
    const Call call = faults_.begin(Verb::put, key.text(), mode == PutMode::create);
    return around(call, [&] { return store_->put(context, key, bytes, mode); });
  }

  Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey& key) override {
    return around(faults_.begin(Verb::find, key.text(), false),
                  [&] { return store_->find(context, key); });
  }

  Result<ListPage> list(const Context& context, std::string_view prefix,
                        ListOptions options) override {
    return around(faults_.begin(Verb::list, std::string(prefix), false),
                  [&] { return store_->list(context, prefix, options); });
  }

  Result<> remove(const Context& context, std::span<const ObjectKey> keys) override {
    return around(faults_.begin(Verb::remove, keys.empty() ? "" : keys.front().text(), false),
                  [&] { return store_->remove(context, keys); });
  }

  std::string describe() const override { return "faulty over " + store_->describe(); }

 private:
  template <class Operation>
  auto around(const Call& call, const Operation& operation) -> decltype(operation()) {
    THAW_CHECK(faults_.at(call, When::before));
    auto result = operation();
    THAW_CHECK(faults_.at(call, When::after));
    return result;
  }

  const std::unique_ptr<ObjectStore> store_;
  Faults& faults_;
};

std::unique_ptr<ObjectStore> faulty(std::unique_ptr<ObjectStore> store, Faults& faults) {
  return std::make_unique<FaultyStore>(std::move(store), faults);
}

}  // namespace thaw::test
