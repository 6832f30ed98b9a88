// The object that makes a place a tier. See docs/format.md, "Blocks of tiers".
#pragma once

#include "object/store.h"

namespace thaw {

// Refuses (Code::invalid) a place that holds anything and is no tier, and a tier of another format.
// Of a place without a marker it looks at two objects; a tier's blocks are no reason to refuse it.
// Answers whether it is a tier already. One request for a tier, two for an empty place.
Result<bool> check_tier(const Context& context, ObjectStore& fast);

// Makes the place a tier, if it is none yet. Checks nothing else.
Result<> mark_tier(const Context& context, ObjectStore& fast);

}  // namespace thaw
