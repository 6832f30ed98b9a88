// The first read of an object that may change, where nobody knows its version yet. Internal to
// block_cache.
#pragma once

#include "object/block_read.h"

namespace thaw {

// ObjectStore::get with Adopts::yes. A tier that surely holds nothing of the object need not know
// the version: the get that brings its blocks brings the version as well, where find() and then get
// would be two round trips. Precondition: `range` is from the object's start and not empty.
Result<Fetched> read_first(const Context& context, const TierParts& parts, const ObjectKey& key,
                           const ByteRange& range);

}  // namespace thaw
