#include "snapshot/lease.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "snapshot/catalog.h"

namespace thaw {
namespace {

// Longer than a slow upload takes between two refreshes, shorter than the collector's grace.
constexpr std::chrono::seconds kTtl{3600};

}  // namespace

Result<SaverLease> SaverLease::take(const Context& context, ObjectStore& store,
                                    std::vector<Digest> bases) {
  Lease lease;
  lease.holder = holder_name();
  lease.nonce = RandomId::fresh();
  lease.created_ns = system_clock().now().ns;
  lease.ttl_s = static_cast<uint64_t>(kTtl.count());
  lease.bases = std::move(bases);
  SaverLease taken(RandomId::fresh(), std::move(lease));
  THAW_CHECK(taken.put(context, store, PutMode::create).within("take a lease"));
  return taken;
}

Result<> SaverLease::put(const Context& context, ObjectStore& store, PutMode mode) const {
  THAW_ASSIGN(const Buffer bytes, encode_lease(lease_));
  THAW_CHECK(store.put(context, lease_object(id_), bytes, mode));
  return {};
}

void SaverLease::refresh(const Context& context, ObjectStore& store) {
  if (Context::Clock::now() - renewed_ < kTtl / 2) return;
  // Gone already? Then putting it again would hide that from still_held().
  auto held = still_held(context, store);
  if (!held || !*held) return;
  auto done = put(context, store, PutMode::overwrite);
  if (done)
    renewed_ = Context::Clock::now();
  else
    log::warn("a lease was not renewed: {}", done.error().text());
}

Result<bool> SaverLease::still_held(const Context& context, ObjectStore& store) const {
  THAW_ASSIGN(const auto info, store.find(context, lease_object(id_)));
  return info.has_value();
}

void SaverLease::give_back(const Context& context, ObjectStore& store) const {
  const ObjectKey object = lease_object(id_);
  const auto done = store.remove(context, {&object, 1});
  if (!done) log::warn("a lease stays until it expires: {}", done.error().text());
}

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0) return "unknown";
  return name;
}

std::string holder_name() { return host_name() + "/" + std::to_string(::getpid()); }

}  // namespace thaw
