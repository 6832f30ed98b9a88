#include "snapshot/lease.h"

#include <unistd.h>

#include "base/log.h"
#include "format/manifest.h"
#include "snapshot/catalog.h"

namespace thaw {

Result<> LeaseNeeds::add(const Entry& entry) {
  if (const auto* at = std::get_if<ManifestRef>(&entry.manifest)) {
    manifests.push_back(at->id);
    return {};
  }
  // It lies in the entry, which may be retired: then only this tells what it needs.
  uint64_t needed_bytes = 0;
  THAW_ASSIGN(const std::vector<PackRef> head,
              decode_manifest_head(std::get<Buffer>(entry.manifest).view(), &needed_bytes));
  for (const PackRef& pack : head) packs.push_back(pack.id);
  return {};
}

Result<HeldLease> HeldLease::take(const Context& context, ObjectStore& store, LeaseNeeds needs,
                                  const WallClock& clock) {
  Lease lease;
  lease.holder = holder_name();
  lease.nonce = RandomId::fresh();
  lease.ttl_s = static_cast<uint64_t>(kLeaseTtl.count());
  lease.manifests = std::move(needs.manifests);
  lease.packs = std::move(needs.packs);
  HeldLease taken(std::move(lease), clock);
  THAW_ASSIGN(ObjectKey object, taken.put(context, store).within("take a lease"));
  taken.objects_.push_back(std::move(object));
  return taken;
}

Result<ObjectKey> HeldLease::put(const Context& context, ObjectStore& store) const {
  Lease lease = lease_;
  lease.created_ns = clock_->now().ns;
  THAW_ASSIGN(const Buffer bytes, encode_lease(lease));
  ObjectKey object = lease_object(RandomId::fresh());
  THAW_CHECK(store.put(context, object, bytes, PutMode::create));
  return object;
}

void HeldLease::renew_in_time(const Context& context, ObjectStore& store) {
  if (lost_ || !is_old()) return;
  const auto done = renew(context, store);
  if (!done) log::warn("a lease was not renewed: {}", done.error().text());
}

bool HeldLease::is_old() const {
  const std::chrono::nanoseconds by_wall{clock_->now().ns - renewed_at_.ns};
  return Context::Clock::now() - renewed_ >= kLeaseTtl / 2 || by_wall >= kLeaseTtl / 2;
}

Result<> HeldLease::renew(const Context& context, ObjectStore& store) {
  if (lease_.since_ns == 0) {
    THAW_ASSIGN(const auto first, store.find(context, objects_.front()));
    lost_ = lost_ || !first;
    if (lost_) return {};
    lease_.since_ns = first->modified.ns;
  }
  // Its age counts from before it was put: the answer may come after a long pause.
  const auto begun = Context::Clock::now();
  const Timestamp begun_at = clock_->now();
  THAW_ASSIGN(ObjectKey object, put(context, store).within("renew a lease"));
  // Only after the new one is there: then no collector found the old ones alone and out of time.
  THAW_ASSIGN(const bool held, still_held(context, store));
  objects_.push_back(std::move(object));
  if (held) {
    renewed_ = begun;
    renewed_at_ = begun_at;
  }
  return {};
}

Result<bool> HeldLease::still_held(const Context& context, ObjectStore& store) {
  if (lost_) return false;
  // The first one, which goes with any other: a collector may have listed it before the newest was
  // there, and remove it afterwards.
  THAW_ASSIGN(const auto info, store.find(context, objects_.front()));
  lost_ = !info.has_value();
  return !lost_;
}

void HeldLease::give_back(const Context& context, ObjectStore& store) {
  const auto done = store.remove(context, objects_);
  if (!done) log::warn("a lease stays until it expires: {}", done.error().text());
}

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0) return "unknown";
  return name;
}

std::string holder_name() { return host_name() + "/" + std::to_string(::getpid()); }

}  // namespace thaw
