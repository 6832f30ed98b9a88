// Collect: survey, plan, execute. See docs/gc.md.
#pragma once

#include <string>
#include <vector>

#include "base/context.h"
#include "gc/plan.h"
#include "object/store.h"
#include "snapshot/progress.h"

namespace thaw::gc {

struct CollectOptions {
  PlanOptions plan;
  Access access = Access::look;  // look: the plan is made, and nothing is done
  unsigned threads = 8;
};

struct CollectReport {
  Plan plan;
  Unknown unknown;
  uint64_t leases = 0;          // live ones
  uint64_t expired_leases = 0;  // removed, or to be removed
  // What was done of the plan: all of it, or what came before the error.
  uint64_t retired = 0;
  Tally swept;
  Tally marked;
  std::optional<Error> fault;
};

// One run of a collector. Any number of them may run at once, on any machines, beside savers and
// readers; one that is killed is finished by the next. An error is what kept it from making a plan;
// one that comes later is in the report. `store` is the store itself, without tiers before it.
Result<CollectReport> collect(const Context& context, ObjectStore& store,
                              const CollectOptions& options, Progress* progress);

}  // namespace thaw::gc
