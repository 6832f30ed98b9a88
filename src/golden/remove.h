// What changes which generations there are, and which is current: roll back, remove, collect.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "golden/name.h"
#include "golden/place.h"

namespace thaw::golden {

// One generation, as ls, show and gc see it.
struct GenerationState {
  uint64_t number = 0;
  bool is_current = false;
  int64_t last_use_ns = 0;
  size_t live_clones = 0;  // overlays, which need it
  Description description{};
};
// The highest first. One without a readable description has what is known.
Result<std::vector<GenerationState>> generations_of(const Place& place);

struct Rollback {
  uint64_t previous = 0;
  uint64_t current = 0;  // the same as before: nothing was to be done
};
// To `generation`, or to the highest one below the current. not_found when there is none.
Result<Rollback> roll_back(const Context& context, const Place& place,
                           std::optional<uint64_t> generation);

// Removes one generation, which is not current; or, without a number, all of them. busy: one that
// is current, has live clones or is being cloned. Answers which went. The golden's folder stays: it
// remembers the numbers.
enum class Act { plan, execute };
Result<std::vector<uint64_t>> remove(const Context& context, const Place& place,
                                     std::optional<uint64_t> generation, Act act);

struct CollectOptions {
  size_t keep_last = 3;
  std::optional<std::chrono::milliseconds> unused{};
  uint64_t free_bytes = 0;  // so much is missing on the disk
};
enum class Why { beyond_keep_last, unused, disk };
struct Doomed {
  uint64_t number = 0;
  uint64_t bytes = 0;
  Why why = Why::beyond_keep_last;
};
// Pure. Never the current one, nor one with live clones. What makes room goes by last use, the
// oldest first, until enough is free.
std::vector<Doomed> plan_collection(const std::vector<GenerationState>& generations,
                                    const CollectOptions& options, int64_t now_ns);

// Removes a generation that the plan gave up. false: it is in use, or became current, and stays.
Result<bool> collect(const Context& context, const Place& place, uint64_t generation);

}  // namespace thaw::golden
