// The records of a golden's clones: where they are, and whether they are whole.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "golden/lock.h"
#include "golden/place.h"
#include "golden/record.h"

namespace thaw::golden {

struct Clone {
  std::string id;  // 32 hexadecimal digits
  CloneRecord record;
};

enum class CloneState {
  whole,      // its target is what it made, or an overlay that is mounted
  unmounted,  // an overlay whose writes are there, and which is not mounted
  gone,       // neither: it was interrupted, or its target was removed
};

// Records that are malformed are warned about and left out.
Result<std::vector<Clone>> clones_of(const Place& place);
CloneState state_of(const Place& place, const Clone& clone);

// An overlay clone needs its generation whether it is mounted or not. `corrupt` where a record is
// malformed and has an overlay: nobody knows what that needs.
Result<std::vector<Clone>> live_on(const Place& place, uint64_t generation);

// The record of a clone that is being made or unmade, and the lock that says so. The destructor
// lets go of it; the record stays. Move-only.
class ClaimedClone {
 public:
  static Result<ClaimedClone> make(const Place& place, const CloneRecord& record);
  // Empty when another process is at work on it.
  static Result<std::optional<ClaimedClone>> take(const Place& place, const Clone& clone);
  ClaimedClone(ClaimedClone&&) noexcept = default;
  ClaimedClone& operator=(ClaimedClone&&) = delete;
  ~ClaimedClone();

  const std::string& id() const { return id_; }
  CloneRecord& record() { return record_; }
  // Makes the record on disk what record() says.
  Result<> write() const;
  // Forgets the clone.
  Result<> remove() const;

 private:
  ClaimedClone(std::string folder, std::string id, CloneRecord record, Lock lock);
  std::string folder_;
  std::string id_;
  CloneRecord record_;
  std::optional<Lock> lock_;
};

// Removes what interrupted clones left: their stages, overlays and records, and the records of
// clones that are no more. What another process works on stays.
Result<> recover_clones(const Context& context, const Place& place);

}  // namespace thaw::golden
