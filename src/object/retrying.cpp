#include "object/retrying.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/random.h"

namespace thaw {
namespace {

using std::chrono::milliseconds;

// Stop flags wake nobody (a signal handler may set them), so the wait looks at them now and then.
Result<> wait_in_steps(const Context& context, milliseconds time) {
  constexpr milliseconds kStep{20};
  const auto end = Context::Clock::now() + std::min<milliseconds>(time, std::chrono::hours(24));
  while (true) {
    THAW_CHECK(context.alive());
    const auto left = end - Context::Clock::now();
    if (left <= left.zero()) return {};
    std::this_thread::sleep_for(std::min<Context::Clock::duration>(left, kStep));
  }
}

// The waits between the attempts of one call.
class Backoff {
 public:
  explicit Backoff(const RetryPolicy& policy) : most_(policy.base_ms), cap_(policy.cap_ms) {
    const RandomId seed = RandomId::fresh();
    engine_.seed(load_le<uint64_t>(seed.bytes.data()));
  }

  milliseconds next() {
    const milliseconds most = std::clamp(most_, milliseconds(0), cap_);
    most_ = most_ > cap_ / 2 ? cap_ : most_ * 2;
    return milliseconds(std::uniform_int_distribution<milliseconds::rep>(0, most.count())(engine_));
  }

 private:
  milliseconds most_;
  const milliseconds cap_;
  std::minstd_rand engine_;
};

// Calls again what may work later.
class Persistence {
 public:
  Persistence(RetryPolicy policy, RetryWait wait) : policy_(policy), wait_(std::move(wait)) {
    policy_.attempts = std::max(policy_.attempts, 1U);
    policy_.cap_ms = std::max(policy_.cap_ms, milliseconds(0));
  }

  template <class Call>
  auto call(const Context& context, std::string_view verb, std::string_view name,
            const Call& send) const -> decltype(send()) {
    THAW_CHECK(context.alive());
    auto result = send();
    if (result || !result.error().retryable()) return result;
    Backoff backoff(policy_);
    unsigned attempt = 1;
    while (!result && result.error().retryable() && attempt < policy_.attempts) {
      milliseconds pause = backoff.next();
      if (const auto asked = result.error().retry_after()) {
        // Longer than anybody waits for a cache: then the error is the better answer.
        if (*asked > policy_.longest_asked_ms) break;
        pause = std::max(pause, *asked);
      }
      const auto left = context.remaining();
      if (left && *left <= pause) break;
      log::info("{} {}: attempt {} of {} failed, the next in {} ms: {}", verb, name, attempt,
                policy_.attempts, pause.count(), result.error().text());
      auto waited = wait_(context, pause);
      if (!waited) return std::move(waited).error().within("wait to try again");
      result = send();
      ++attempt;
    }
    return std::move(result).within(fmt::format("attempt {} of {}", attempt, policy_.attempts));
  }

 private:
  RetryPolicy policy_;
  const RetryWait wait_;
};

class RetryingStore final : public ObjectStore {
 public:
  RetryingStore(std::unique_ptr<ObjectStore> store, RetryPolicy policy, RetryWait wait)
      : store_(std::move(store)), persistence_(policy, std::move(wait)) {}

  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    return persistence_.call(context, "get", key.text(),
                             [&] { return store_->get(context, key, range, wanted); });
  }

  Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                         PutMode mode) override {
    return persistence_.call(context, "put", key.text(),
                             [&] { return store_->put(context, key, bytes, mode); });
  }

  Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey& key) override {
    return persistence_.call(context, "find", key.text(),
                             [&] { return store_->find(context, key); });
  }

  Result<ListPage> list(const Context& context, std::string_view prefix,
                        ListOptions options) override {
    return persistence_.call(context, "list", prefix,
                             [&] { return store_->list(context, prefix, options); });
  }

  Result<> remove(const Context& context, std::span<const ObjectKey> keys) override {
    return persistence_.call(context, "remove", keys.empty() ? "nothing" : keys.front().text(),
                             [&] { return store_->remove(context, keys); });
  }

  std::string describe() const override { return "retrying over " + store_->describe(); }

 private:
  const std::unique_ptr<ObjectStore> store_;
  const Persistence persistence_;
};

class RetryingMultipart final : public MultipartStore {
 public:
  RetryingMultipart(std::unique_ptr<MultipartStore> store, RetryPolicy policy)
      : store_(std::move(store)), persistence_(policy, wait_in_steps) {}

  Result<UploadId> begin(const Context& context, const ObjectKey& key) override {
    return persistence_.call(context, "begin the upload of", key.text(),
                             [&] { return store_->begin(context, key); });
  }

  Result<UploadedPart> put_part(const Context& context, const ObjectKey& key,
                                const UploadId& upload, uint32_t number, Buffer bytes) override {
    return persistence_.call(context, "put a part of", key.text(),
                             [&] { return store_->put_part(context, key, upload, number, bytes); });
  }

  Result<> complete(const Context& context, const ObjectKey& key, const UploadId& upload,
                    const std::vector<UploadedPart>& parts) override {
    return persistence_.call(context, "complete", key.text(),
                             [&] { return store_->complete(context, key, upload, parts); });
  }

  Result<> abort(const Context& context, const ObjectKey& key, const UploadId& upload) override {
    return persistence_.call(context, "abort the upload of", key.text(),
                             [&] { return store_->abort(context, key, upload); });
  }

 private:
  const std::unique_ptr<MultipartStore> store_;
  const Persistence persistence_;
};

}  // namespace

std::unique_ptr<ObjectStore> retrying(std::unique_ptr<ObjectStore> store, RetryPolicy policy) {
  return retrying(std::move(store), policy, wait_in_steps);
}

std::unique_ptr<ObjectStore> retrying(std::unique_ptr<ObjectStore> store, RetryPolicy policy,
                                      RetryWait wait) {
  return std::make_unique<RetryingStore>(std::move(store), policy, std::move(wait));
}

std::unique_ptr<MultipartStore> retrying(std::unique_ptr<MultipartStore> store,
                                         RetryPolicy policy) {
  return std::make_unique<RetryingMultipart>(std::move(store), policy);
}

}  // namespace thaw
