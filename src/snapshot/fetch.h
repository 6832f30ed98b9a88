// Fetching: the frames of a plan are read from the store, decoded, verified and handed on, in
// parallel.
#pragma once

#include <cstdint>
#include <functional>

#include "base/byte_budget.h"
#include "base/context.h"
#include "object/store.h"
#include "snapshot/fetch_plan.h"

namespace thaw {

// Takes the content of one chunk, of which every part in use was verified. Called on several
// threads.
using ChunkSink = std::function<Result<>(const Context&, uint32_t chunk, Bytes content)>;

// Fetches and verifies all that the plan names and gives it to `sink`, chunk by chunk, in no fixed
// order. `threads` decode and write while others fetch; `budget` bounds what is fetched and not yet
// decoded. The first error ends it; a missing pack or wrong bytes are Code::corrupt and name the
// pack.
Result<> fetch_chunks(const Context& context, ObjectStore& store, const Manifest& manifest,
                      const FetchPlan& plan, ByteBudget& budget, unsigned threads,
                      const ChunkSink& sink);

}  // namespace thaw
