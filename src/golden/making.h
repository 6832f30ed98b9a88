// The lock of who builds, fetches or publishes a golden: each is done once, however many ask.
#pragma once

#include <string>

#include "base/context.h"
#include "golden/lock.h"
#include "golden/place.h"

namespace thaw::golden {

enum class Wait { for_others, not_at_all };

// Waits as long as the context lasts, or answers `busy` at once, with who is at work. `busy` also
// where this process runs inside a build of this golden: it would wait for itself.
Result<Lock> lock_making(const Context& context, const Place& place, Wait wait);

// "THAW_GOLDEN_BUILDS=a:b": for the environment of a build of this golden.
std::string builds_variable(const Place& place);

}  // namespace thaw::golden
