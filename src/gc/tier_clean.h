// Cleaning a tier: by age and by size, what was used longest ago first. See docs/operations.md,
// "Cleaning tiers".
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "object/tier_evict.h"
#include "snapshot/progress.h"

namespace thaw::gc {

struct CleanOptions {
  std::optional<std::chrono::seconds> older_than{};  // what was not used for so long goes
  std::optional<uint64_t> max_bytes{};  // above it, what was used longest ago goes, down to 95%
  uint64_t free_bytes = 0;              // and so much in any case: a disk needs the room
  uint64_t max_deletions = 10'000;
  double deletions_per_second = 0;  // 0: no limit
  // Without word from an index, an object's own age counts as its last use. Else such blocks stay,
  // unless the tier is above max_bytes or the disk needs room.
  bool allow_blind = false;
  bool execute = false;  // else the report says what would go
};

// Where the word came from by which blocks were chosen.
struct CleanSource {
  uint64_t scanned = 0;
  uint64_t deleted = 0;
  uint64_t bytes = 0;
};

struct CleanReport {
  CleanSource index;          // last uses
  CleanSource listing;        // the objects' own ages
  uint64_t matched = 0;       // chosen
  uint64_t kept_recent = 0;   // of these: used at the last moment, or being fetched
  uint64_t kept_unknown = 0;  // old, and nobody knows when they were used
  uint64_t forgotten = 0;     // the index knew them, and they are gone
  uint64_t adopted = 0;       // they are there, and the index learned of them
  uint64_t foreign = 0;       // objects among the blocks that are none
  uint64_t tier_blocks = 0;   // as listed, before anything went
  uint64_t tier_bytes = 0;
  bool blind = false;               // own ages decided
  bool mended = false;              // the index's sums were wrong
  bool capped = false;              // max_deletions ended it
  std::vector<std::string> errors;  // what failed; the rest went on
};

// Memory does not grow with the tier. Only objects of blocks' names below "blocks/" are ever
// removed. Refused (Code::invalid): a place without a tier's marker. An error is what kept it from
// beginning, or the end of `context`.
Result<CleanReport> clean_tier(const Context& context, const CleanedTier& tier,
                               const CleanOptions& options, const WallClock& clock,
                               Progress* progress);

}  // namespace thaw::gc
