#include "object/memory.h"

#include <fmt/format.h>

#include <map>
#include <mutex>

#include "object/contract.h"

namespace thaw {
namespace {

class MemoryStore final : public ObjectStore {
 public:
  explicit MemoryStore(const WallClock& clock) : clock_(clock) {}

  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    THAW_CHECK(context.alive().within("get " + key.text()));
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(key);
    if (found == objects_.end()) {
      return Error(Code::not_found, "no such object").within("get " + key.text());
    }
    const Object& object = found->second;
    THAW_CHECK(check_version(wanted, object.info).within("get " + key.text()));
    auto piece = piece_of(range, object.bytes.size());
    if (!piece) return std::move(piece).error().within("get " + key.text());
    return Fetched{object.bytes.slice(piece->offset, piece->length), object.info};
  }

  Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                         PutMode mode) override {
    THAW_CHECK(context.alive().within("put " + key.text()));
    const std::lock_guard lock(mutex_);
    if (mode == PutMode::create && objects_.contains(key)) return PutOutcome::exists;
    const ObjectInfo info{bytes.size(), fmt::format("{:x}", ++puts_), clock_.now()};
    objects_.insert_or_assign(key, Object{std::move(bytes), info});
    return PutOutcome::stored;
  }

  Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey& key) override {
    THAW_CHECK(context.alive().within("find " + key.text()));
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(key);
    if (found == objects_.end()) return std::nullopt;
    return found->second.info;
  }

  Result<ListPage> list(const Context& context, std::string_view prefix,
                        ListOptions options) override {
    auto ready = context.alive();
    if (ready) ready = check_options(options);
    if (!ready) return std::move(ready).error().within(fmt::format("list \"{}\"", prefix));
    const std::lock_guard lock(mutex_);
    ListPage page;
    auto next = prefix > options.after ? objects_.lower_bound(prefix)
                                       : objects_.upper_bound(std::string_view(options.after));
    for (; next != objects_.end() && next->first.text().starts_with(prefix); ++next) {
      if (page.objects.size() == options.limit) {
        page.more = true;
        break;
      }
      page.objects.push_back({next->first, next->second.info});
    }
    return page;
  }

  Result<> remove(const Context& context, std::span<const ObjectKey> keys) override {
    THAW_CHECK(context.alive().within("remove"));
    const std::lock_guard lock(mutex_);
    for (const ObjectKey& key : keys) objects_.erase(key);
    return {};
  }

  std::string describe() const override { return "memory"; }

 private:
  struct Object {
    Buffer bytes;
    ObjectInfo info;
  };

  // std::string compares as unsigned bytes, which is the order that list() promises.
  struct Bytewise {
    using is_transparent = void;
    static std::string_view text(const ObjectKey& key) { return key.text(); }
    static std::string_view text(std::string_view name) { return name; }
    bool operator()(const auto& a, const auto& b) const { return text(a) < text(b); }
  };

  const WallClock& clock_;
  std::mutex mutex_;
  std::map<ObjectKey, Object, Bytewise> objects_;
  uint64_t puts_ = 0;  // names each object's bytes: its etag
};

}  // namespace

std::unique_ptr<ObjectStore> make_memory_store(const WallClock& clock) {
  return std::make_unique<MemoryStore>(clock);
}

}  // namespace thaw
