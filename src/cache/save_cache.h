// Saving one cache.
#pragma once

#include "base/context.h"
#include "cache/definition.h"
#include "cache/job.h"

namespace thaw::cache {

// Publishes the targets under the whole key, and the record of them under the shorter ones too, in
// the job's own scope; before the record nobody finds any of it. Skips what exists, is unchanged or
// empty, and all where the job may not write. Never fails: what went wrong is in the record.
Record save_cache(const Context& context, const Job& job, const Definition& definition);

}  // namespace thaw::cache
