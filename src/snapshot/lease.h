// A saver's lease: keeps the collector from what the save deduplicates against (docs/gc.md).
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/context.h"
#include "format/record.h"
#include "object/store.h"

namespace thaw {

// Held from before the bases are relied on until the entry is published. One thread at a time.
class SaverLease {
 public:
  static Result<SaverLease> take(const Context& context, ObjectStore& store,
                                 std::vector<Digest> bases);

  // Renews it once half its time has passed. Failing to is no error: still_held() tells in the end.
  void refresh(const Context& context, ObjectStore& store);
  // Whether it is still there: asked after the entry was put. When it is gone the entry is to be
  // retracted, for a collector may have deleted what the entry needs.
  Result<bool> still_held(const Context& context, ObjectStore& store) const;
  // Best-effort: one that stays behind expires.
  void give_back(const Context& context, ObjectStore& store) const;

 private:
  SaverLease(RandomId id, Lease lease) : id_(id), lease_(std::move(lease)) {}
  Result<> put(const Context& context, ObjectStore& store, PutMode mode) const;

  RandomId id_;
  Lease lease_;
  Context::Clock::time_point renewed_ = Context::Clock::now();
};

// "host/pid", for people who look at leases and entries.
std::string holder_name();
std::string host_name();

}  // namespace thaw
