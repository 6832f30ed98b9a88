// Restoring one cache.
#pragma once

#include "base/context.h"
#include "cache/definition.h"
#include "cache/job.h"

namespace thaw::cache {

// Each target is the old tree or the whole new one, and all are of one save unless it fails. Never
// fails itself: what went wrong is in the record. A corrupt generation and the record that led
// there are retired if the job may write their scope, and the next candidate is tried.
Record restore_cache(const Context& context, const Job& job, const Definition& definition);

}  // namespace thaw::cache
