// ChunkCache: decoded, verified chunks in memory, within a bound, shared by all open snapshots.
#pragma once

#include <cstdint>

namespace thaw {

class ChunkCache;

}  // namespace thaw
