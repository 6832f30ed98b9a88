// A lease: keeps the collector from what a save deduplicates against, or a long read reads, and
// from what a save has put. See docs/gc.md.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "format/record.h"
#include "object/store.h"

namespace thaw {

// Longer than a slow upload takes between two renewals. Also what a collector waits before it
// forgets a removed generation's number (docs/gc.md, "What may go").
inline constexpr std::chrono::seconds kLeaseTtl{3600};

// What its holder stands on.
struct LeaseNeeds {
  std::vector<RandomId> manifests;  // with all packs that they name
  std::vector<RandomId> packs;
  // Adds what the entry's snapshot needs. Code::corrupt when its manifest is in it and broken.
  Result<> add(const Entry& entry);
};

// Move-only: one holder. One thread at a time. It ends with give_back(), or when it is too old.
class HeldLease {
 public:
  // `clock` is the holder's, and outlives the lease.
  static Result<HeldLease> take(const Context& context, ObjectStore& store, LeaseNeeds needs,
                                const WallClock& clock = system_clock());
  HeldLease(HeldLease&&) = default;
  HeldLease& operator=(HeldLease&&) = default;

  // Renews it once half its time has passed, by a further object: leases are never overwritten, so
  // that one which a collector removed stays removed. It takes all of a holder's or none. Failing
  // to is no error: still_held() tells.
  void renew_in_time(const Context& context, ObjectStore& store);
  // Whether half its time has passed. By both clocks: one of them stands still while a virtual
  // machine is paused, and the other may be set.
  bool is_old() const;
  // The same, whatever the time.
  Result<> renew(const Context& context, ObjectStore& store);
  // Whether a collector has let it be. Once false, always false, and what the holder stands on may
  // be gone.
  Result<bool> still_held(const Context& context, ObjectStore& store);
  // Best-effort: one that stays behind expires.
  void give_back(const Context& context, ObjectStore& store);

 private:
  HeldLease(Lease lease, const WallClock& clock)
      : clock_(&clock), lease_(std::move(lease)), renewed_at_(clock.now()) {}
  Result<ObjectKey> put(const Context& context, ObjectStore& store) const;

  const WallClock* clock_;
  Lease lease_;
  std::vector<ObjectKey> objects_;  // the first in front; none goes before the end (docs/gc.md)
  bool lost_ = false;
  Context::Clock::time_point renewed_ = Context::Clock::now();
  Timestamp renewed_at_;
};

// "host/pid", for people who look at leases and entries.
std::string holder_name();
std::string host_name();

}  // namespace thaw
