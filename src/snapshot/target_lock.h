// One restore at a time changes a directory in place.
#pragma once

#include <string>

#include "base/context.h"
#include "base/fd.h"

namespace thaw {

// Locks the directory `path` (flock(2) on itself, so nothing is left behind) until the descriptor
// is closed. Waits for another restore while the context lasts: when its deadline passes, that is
// `busy` and says why. Where the filesystem knows no such locks it goes on without.
Result<UniqueFd> lock_target(const Context& context, const std::string& path);

}  // namespace thaw
