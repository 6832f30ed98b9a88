// Presence: what a reader leaves in the store, so that what it reads stays. See docs/gc.md.
#pragma once

#include <chrono>
#include <memory>

#include "base/context.h"
#include "format/record.h"
#include "object/store.h"

namespace thaw {

struct PresenceOptions {
  // A read that takes longer than this is protected by a lease; sooner the collector's grace period
  // does it, which is longer.
  std::chrono::milliseconds lease_after = std::chrono::minutes(10);
  // For the note that its key is used: what is late is given up.
  std::chrono::milliseconds note_timeout = std::chrono::seconds(1);
};

// Beside the read, on a thread of its own: notes that the entry's key is used, and takes a lease
// when the read goes on for long. Everything is best-effort: refused permission is logged and no
// more. The destructor gives the lease back, and waits for the note until its time is over.
class Presence {
 public:
  // `store` and `context` outlive it; so does nothing else.
  Presence(const Context& context, ObjectStore& store, Entry entry,
           const PresenceOptions& options = {});
  ~Presence();
  Presence(const Presence&) = delete;
  Presence& operator=(const Presence&) = delete;

 private:
  class Body;
  std::unique_ptr<Body> body_;
};

}  // namespace thaw
