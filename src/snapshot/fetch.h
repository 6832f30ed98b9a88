// Fetching: the frames of a plan are read from the store, decoded, verified and handed on, in
// parallel.
#pragma once

#include <cstdint>
#include <functional>

#include "base/context.h"
#include "object/store.h"
#include "snapshot/fetch_plan.h"
#include "snapshot/known_damage.h"
#include "snapshot/transfer.h"

namespace thaw {

// Takes the content of one chunk, of which every part in use was verified. Called on several
// threads.
using ChunkSink = std::function<Result<>(const Context&, uint32_t chunk, Bytes content)>;

// Fetches and verifies all that the plan names and gives it to `sink`, chunk by chunk, in no fixed
// order. `threads` decode and write while others fetch, as many at once as the limits and the link
// allow. A frame that is not what it should be is fetched once more, past all tiers. The first
// error ends it; a missing pack or wrong bytes are Code::corrupt, name the pack and are remembered
// as damage.
Result<> fetch_chunks(const Context& context, ObjectStore& store, const Manifest& manifest,
                      const FetchPlan& plan, const TransferLimits& limits, unsigned threads,
                      const KnownDamage& damage, const ChunkSink& sink);

}  // namespace thaw
