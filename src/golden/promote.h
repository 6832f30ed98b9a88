// Promote: a directory's content becomes the next generation of a golden.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "golden/place.h"
#include "golden/record.h"
#include "golden/recover.h"
#include "snapshot/policy.h"
#include "snapshot/progress.h"
#include "snapshot/restore.h"

namespace thaw::golden {

struct PromoteRequest {
  Name name;
  std::string path;                         // the directory
  std::optional<uint64_t> if_generation{};  // refused unless it is current; 0: there is none
  Policy policy{};
  std::optional<std::chrono::milliseconds> quiesce{};
  std::vector<std::string> scrub{};  // globs on paths below `path`
  std::optional<std::string> success_file{};
  std::optional<int64_t> started_at_ns{};  // of the session: the success file must be newer
  std::optional<std::string> stamp{};      // a path below `path`
  std::string source{};
  std::map<std::string, std::string> labels{};
  double min_free = 0;                           // share of the filesystem
  std::vector<ProtectedPath> protected_paths{};  // not moved, nor a folder above them
  std::optional<std::string> snapshot{};         // its id in the store, of what was fetched there
  unsigned threads = 1;
};

enum class Transfer {
  moved,
  copied,  // `path` stays
  made,    // it was built or fetched in the golden's folder
};

// Why a promotion was turned away, where that is no error of the machine.
struct Refusal {
  std::string reason;  // "empty", "shrunken", "unfinished"
  std::string message;
  std::string hint{};
};

struct PromoteReport {
  std::optional<Refusal> refusal{};
  Description description{};
  uint64_t previous = 0;  // the generation that was current; 0: none
  Transfer transfer = Transfer::moved;
  std::string why_copied{};
  uint64_t scrubbed = 0;  // names
  uint64_t attributes_skipped = 0;
  uint64_t linked_outside = 0;  // moved files that have names elsewhere, too
};

// docs/golden.md, "The switch", has the steps, and what is left when it is killed. After an error
// or a refusal the old generation is current, and the directory is in its place (it may have been
// scrubbed). Errors: not_found (no such directory), invalid (one that must not be moved, a bad
// glob), busy (something writes there, or is mounted there; a lock), exists (if_generation is not
// current), exhausted (min_free), denied, corrupt. `progress` may be null.
Result<PromoteReport> promote(const Context& context, const Root& root,
                              const PromoteRequest& request, const WallClock& clock,
                              Progress* progress);

// The same for the tree of a work folder of this golden, whatever the request's path says. The
// caller removes the folder where this fails or refuses.
Result<PromoteReport> promote_made(const Context& context, const Root& root,
                                   const PromoteRequest& request, const WorkFolder& folder,
                                   const WallClock& clock, Progress* progress);

}  // namespace thaw::golden
