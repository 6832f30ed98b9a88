// Refusals: saves of a key that Policy refused, counted since its newest generation.
#pragma once

#include <cstdint>

#include "base/context.h"
#include "format/key.h"
#include "format/record.h"
#include "object/store.h"

namespace thaw {

// One LIST.
Result<uint64_t> count_refusals(const Context& context, ObjectStore& store, const Key& key,
                                uint64_t newest);
// Adds one to `count` others.
Result<> note_refusal(const Context& context, ObjectStore& store, const Refusal& refusal,
                      uint64_t count);
// Whether there are any. One HEAD, for every unchanged save asks: a LIST costs twelve times as
// much. Best-effort: false where that cannot be told.
bool has_refusals(const Context& context, ObjectStore& store, const Key& key, uint64_t newest);
// Removes them: they mean nothing any more once there is a newer generation, and are not
// consecutive once a save found this one unchanged. Best-effort.
void clear_refusals(const Context& context, ObjectStore& store, const Key& key, uint64_t newest);

}  // namespace thaw
