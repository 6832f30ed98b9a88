// Saving: the steps of a save that others depend on, in the order that docs/gc.md argues for:
// lease, what is condemned, bases, packs, manifest, entry, lease.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/context.h"
#include "format/key.h"
#include "format/manifest.h"
#include "object/store.h"
#include "snapshot/lease.h"
#include "snapshot/soundness.h"

namespace thaw {

// One save's. One thread at a time. `store`, `soundness` and `clock` outlive it. Whoever puts an
// entry goes through this, also where the tree is another entry's.
class Saving {
 public:
  // Takes the lease on these entries' snapshots. One whose manifest is broken is no base.
  static Result<Saving> begin(const Context& context, ObjectStore& store, Soundness& soundness,
                              std::vector<Entry> bases, const WallClock& clock = system_clock());

  // The manifests of those that are still there and sound, need nothing that is condemned, and may
  // be relied on from here to the end.
  Result<std::vector<Manifest>> load_bases(const Context& context);

  // To be called now and then while packs are put.
  void go_on(const Context& context) { lease_.renew_in_time(context, store_); }

  // Encodes it, and puts it where it is too long for the entry; sets what `entry` says of it. Its
  // packs are there.
  Result<> put_manifest(const Context& context, Manifest& manifest, unsigned threads, Entry& entry);

  // Puts the entry under each key, and answers the generations. When the lease is gone by then,
  // all are retracted, also after the end of `context`: Code::busy. After any other error those
  // before it may stand.
  Result<std::vector<uint64_t>> publish(const Context& context, Entry entry,
                                        std::span<const Key> keys);

  // In the end, whatever happened. Best-effort.
  void end(const Context& context) { lease_.give_back(context, store_); }

 private:
  Saving(ObjectStore& store, Soundness& soundness, std::vector<Entry> bases, HeldLease lease)
      : store_(store), soundness_(soundness), bases_(std::move(bases)), lease_(std::move(lease)) {}
  Result<bool> may_use(const Context& context, const Entry& entry);
  Result<> retract(const Context& context, const Entry& entry, std::span<const Key> keys,
                   const std::vector<uint64_t>& generations);

  ObjectStore& store_;
  Soundness& soundness_;
  std::vector<Entry> bases_;
  HeldLease lease_;
};

}  // namespace thaw
