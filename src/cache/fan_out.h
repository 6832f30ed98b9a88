// Several caches at once, each alone in its success or failure.
#pragma once

#include <functional>
#include <vector>

#include "base/context.h"
#include "cache/definition.h"
#include "cache/job.h"

namespace thaw::cache {

using Work = std::function<Record(const Context&, const Job&, const Definition&)>;

// Does the work for each cache, `concurrency` at once; answers a record for each, in their order,
// also for those that were not begun when the context ended. A cache that blocked_by_links() cannot
// be done beside those before it is `failed`. Precondition: check_side_by_side() passed them.
// `done` is called as each is done, from one thread at a time; it may be empty.
std::vector<Record> fan_out(const Context& context, const Job& job,
                            const std::vector<Definition>& definitions, unsigned concurrency,
                            const Work& work, const std::function<void(const Record&)>& done);

}  // namespace thaw::cache
