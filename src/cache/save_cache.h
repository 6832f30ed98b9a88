// Saving one cache.
#pragma once

#include "base/context.h"
#include "cache/definition.h"
#include "cache/job.h"

namespace thaw::cache {

// Publishes each target under the whole key and its shorter ones, in the job's own scope. Skips
// what exists, is unchanged or empty, and all where the job may not write. Never fails: what went
// wrong is in the record; what was published before that stays.
Record save_cache(const Context& context, const Job& job, const Definition& definition);

}  // namespace thaw::cache
