// The chain, and the cache that keeps what it answers fresh.
#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "base/log.h"
#include "object/s3/credential_sources.h"

namespace thaw::s3 {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
// Before they expire. Clocks may differ by less, and requests under way still count.
constexpr int64_t kEarly = 300 * kSecond;
// Between two tries while what is there still counts.
constexpr int64_t kPause = 10 * kSecond;
// How long expired ones are used when their source has no others.
constexpr int64_t kStretch = 60 * kSecond;

class CachedCredentials final : public Credentialing {
 public:
  CachedCredentials(std::vector<std::unique_ptr<CredentialSource>> sources, const WallClock& clock)
      : sources_(std::move(sources)), clock_(clock) {}

  Result<Credentials> current(const Context& context) override {
    std::unique_lock lock(mutex_);
    while (true) {
      if (is_usable_for_now()) return *credentials_;
      THAW_CHECK(context.alive());
      if (!refreshing_) return refresh(context, lock);
      const uint64_t awaited = round_;
      THAW_CHECK(await(context, lock, awaited));
      // It is what this call's own try would have got; no later call sees it.
      if (failure_ && failure_->round == awaited) return failure_->error;
    }
  }

  void reject(const Credentials& used) override {
    const std::lock_guard lock(mutex_);
    if (credentials_ && *credentials_ == used) credentials_.reset();
  }

  std::string source() const override {
    const std::lock_guard lock(mutex_);
    return answered_ == nullptr ? "" : answered_->describe();
  }

 private:
  struct Loaded {
    Credentials credentials;
    const CredentialSource* source;
  };
  struct Failure {
    uint64_t round;
    Error error;
  };

  // Precondition for all below, but load(): the lock is held.

  bool is_valid(Timestamp now) const {
    return credentials_ && (!valid_until_ || now < *valid_until_);
  }

  // Without a refresh by this call: they are fresh, or somebody sees to it, or just did.
  bool is_usable_for_now() const {
    const Timestamp now = clock_.now();
    if (!is_valid(now)) return false;
    if (!valid_until_ || valid_until_->ns - now.ns > kEarly || refreshing_) return true;
    // A clock that was put back ends the pause.
    return tried_ && now >= *tried_ && now.ns - tried_->ns < kPause;
  }

  Result<> await(const Context& context, std::unique_lock<std::mutex>& lock, uint64_t awaited) {
    while (refreshing_ && round_ == awaited) {
      THAW_CHECK(context.alive());
      // Stop flags do not signal the condition, so look at them a few times a second.
      auto until = Context::Clock::now() + std::chrono::milliseconds(50);
      if (context.deadline()) until = std::min(until, *context.deadline());
      over_.wait_until(lock, until);
    }
    return {};
  }

  Result<Credentials> refresh(const Context& context, std::unique_lock<std::mutex>& lock) {
    refreshing_ = true;
    const uint64_t round = ++round_;
    lock.unlock();
    auto loaded = load(context);
    lock.lock();
    refreshing_ = false;
    over_.notify_all();
    if (loaded) return keep(*std::move(loaded));
    return fail(context, round, std::move(loaded).error());
  }

  Result<Credentials> keep(Loaded loaded) {
    const Timestamp now = clock_.now();
    valid_until_ = loaded.credentials.expires;
    if (valid_until_ && *valid_until_ <= now) {
      // Either clock may be wrong, and AWS prolongs what instances hold when it cannot renew it.
      log::warn("credentials: those from {} expired at {}; they are tried all the same",
                loaded.source->describe(), valid_until_->iso8601());
      valid_until_ = Timestamp{now.ns + kStretch};
    }
    tried_ = now;
    failure_.reset();
    answered_ = loaded.source;
    credentials_ = std::move(loaded.credentials);
    return *credentials_;
  }

  Result<Credentials> fail(const Context& context, uint64_t round, Error error) {
    // Only this caller's time was up: the next one tries in its stead.
    const bool own =
        !context.alive() || error.code() == Code::cancelled || error.code() == Code::timeout;
    const Timestamp now = clock_.now();
    if (is_valid(now)) {
      if (!own) {
        tried_ = now;
        log::warn("credentials: not renewed, those in use count until {}: {}",
                  valid_until_ ? valid_until_->iso8601() : "further notice", error.text());
      }
      return *credentials_;
    }
    if (!own) failure_ = Failure{round, error};
    return error;
  }

  Result<Loaded> load(const Context& context) const {
    std::string looked;
    for (const auto& source : sources_) {
      THAW_CHECK(context.alive());
      auto found = source->load(context);
      if (!found) {
        return std::move(found).error().within("credentials from " + source->describe());
      }
      if (*found) return Loaded{**std::move(found), source.get()};
      looked += fmt::format("{}{}", looked.empty() ? "" : "; ", source->describe());
    }
    return Error(Code::denied,
                 fmt::format("no credentials for S3: set AWS_ACCESS_KEY_ID and "
                             "AWS_SECRET_ACCESS_KEY, name a profile, or give this machine a role. "
                             "There are none in: {}",
                             looked));
  }

  const std::vector<std::unique_ptr<CredentialSource>> sources_;
  const WallClock& clock_;
  mutable std::mutex mutex_;
  std::condition_variable over_;
  std::optional<Credentials> credentials_;
  std::optional<Timestamp> valid_until_;  // of credentials_; empty: for ever
  std::optional<Timestamp> tried_;        // the last load while there were valid ones
  const CredentialSource* answered_ = nullptr;
  bool refreshing_ = false;
  uint64_t round_ = 0;  // counts the loads
  std::optional<Failure> failure_;
};

}  // namespace

std::unique_ptr<Credentialing> caching(std::vector<std::unique_ptr<CredentialSource>> sources,
                                       const WallClock& clock) {
  return std::make_unique<CachedCredentials>(std::move(sources), clock);
}

std::unique_ptr<Credentialing> credential_chain(CredentialOptions options,
                                                const Environment& environment, HttpClient& http,
                                                const WallClock& clock) {
  std::vector<std::unique_ptr<CredentialSource>> sources;
  if (options.fixed) {
    sources.push_back(fixed_source(*std::move(options.fixed)));
    return caching(std::move(sources), clock);
  }
  if (options.profile.empty()) sources.push_back(environment_source(environment));
  sources.push_back(profile_source(options, environment, http));
  sources.push_back(web_identity_source(options, environment, http));
  sources.push_back(container_source(environment, http));
  sources.push_back(instance_source(environment, http));
  return caching(std::move(sources), clock);
}

}  // namespace thaw::s3
