// Removing from a tree what must not be shared: sockets, pid files, locks, credentials.
#pragma once

#include <cstdint>
#include <string>

#include "base/context.h"
#include "snapshot/glob.h"

namespace thaw::golden {

// Removes all that matches below the folder `path`, a matching folder with all that is in it.
// Answers how many names matched. Does not follow links, nor leave the filesystem.
Result<uint64_t> scrub(const Context& context, const std::string& path, const Globs& globs,
                       unsigned threads);

}  // namespace thaw::golden
