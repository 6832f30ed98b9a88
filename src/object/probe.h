// Finds out, by trying, whether a store does what object/store.h says: for `thaw doctor`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "object/store.h"

namespace thaw {

enum class Verdict {
  good,
  weaker,  // works, with less than is promised elsewhere
  bad,
  unknown,  // could not be tried, because something before it failed
};

struct Finding {
  std::string name;  // stable, for scripts: "create_only"
  Verdict verdict = Verdict::unknown;
  std::string detail;          // what was seen
  std::string hint;            // what to do; empty unless something is to be done
  std::optional<Code> code{};  // of the error, where there was one
};

// What hints speak of.
enum class ProbedPlace { directory, bucket };

// Writes, reads, lists and deletes a few small objects below "probe/<random>/", one after the
// other, and leaves none behind where it may delete. Never fails: what does not work is a finding.
// In order: list, put, get, latency, create_only, overwrite, order, clock, delete.
std::vector<Finding> probe_store(const Context& context, ObjectStore& store, const WallClock& clock,
                                 ProbedPlace place);

}  // namespace thaw
