// Clone: a private, writable copy of a generation, and its end.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "golden/name.h"
#include "golden/place.h"
#include "golden/record.h"
#include "snapshot/progress.h"

namespace thaw::golden {

enum class Wanted {
  best_copy,  // a snapshot or reflinks where the filesystem has them, else a copy
  overlay,
};

struct CloneRequest {
  Ref ref;
  std::string target;
  Wanted wanted = Wanted::best_copy;
  double min_free = 0;  // share of the target's filesystem
  std::vector<ProtectedPath> protected_paths{};
  unsigned threads = 1;
};

struct CloneReport {
  Description description{};
  std::string target{};  // absolute, without links
  Method method = Method::copy;
  bool unchanged = false;  // it was a whole clone of that generation already
  bool remounted = false;  // an overlay clone that was there, and not mounted
  std::string fallback{};  // why the wanted method was not to be had; empty: it was
  uint64_t reflinked = 0;  // files
  uint64_t copied = 0;
  uint64_t attributes_skipped = 0;
};

// The target is missing or empty until it is whole. Errors: not_found (no such golden or
// generation), exists (something is in the target), invalid (a target in the golden root, or around
// it), busy (a mount point; a lock), exhausted, corrupt (the generation is not what golden.json
// says), denied. After an error nothing of it is left. `progress` may be null.
Result<CloneReport> clone(const Context& context, const Root& root, const CloneRequest& request,
                          const WallClock& clock, Progress* progress);

struct UncloneReport {
  Name name;
  uint64_t generation = 0;
  std::string target{};
  Method method = Method::copy;
};

// Removes a clone, and with it what was written there. not_found: the target is no clone of this
// root. busy: an overlay that somebody is in, or something is mounted in the target.
Result<UncloneReport> unclone(const Context& context, const Root& root, const std::string& target);

}  // namespace thaw::golden
