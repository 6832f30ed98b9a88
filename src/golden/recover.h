// Putting right what interrupted commands left in a golden's folder (docs/golden.md).
#pragma once

#include <string>

#include "base/context.h"
#include "golden/place.h"

namespace thaw::golden {

// Every command begins with this for the names that it works on. Costs a listing where there is
// nothing to do.
Result<> recover(const Context& context, const Place& place);

// Completes promotions that were killed between the move and the switch. The caller holds the
// name's lock exclusively, and calls this before it looks at the pointer.
Result<> complete_interrupted(const Place& place);

// From a `.new-…` that is complete to the current generation: stamp, rename, switch. Under the
// name's exclusive lock.
Result<> bring_in(const Place& place, const std::string& entry, const Description& description);

// A generation's folder in the making, or on its way out: a private folder in the golden's, under a
// lock that says that somebody is at work on it. Move-only; the folder stays when it goes.
class WorkFolder {
 public:
  static Result<WorkFolder> make(const Place& place);
  // Renames a generation to it. Under the name's exclusive lock.
  static Result<WorkFolder> of_generation(const Place& place, uint64_t generation);
  const std::string& entry() const { return entry_; }  // ".new-<32 hex>"
  int fd() const { return fd_.get(); }
  // An empty `tree` (mode 0755 & ~umask): a subvolume where those can be made.
  Result<> make_tree() const;
  Result<> remove(const Context& context, const Place& place) const;

 private:
  WorkFolder(std::string entry, UniqueFd fd) : entry_(std::move(entry)), fd_(std::move(fd)) {}
  std::string entry_;
  UniqueFd fd_;
};

}  // namespace thaw::golden
