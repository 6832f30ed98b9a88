// An object store in memory, for tests and models; the reference for the interface's semantics.
#pragma once

#include <memory>

#include "base/clock.h"
#include "object/store.h"

namespace thaw {

// `clock` stamps ObjectInfo::modified and outlives the store.
std::unique_ptr<ObjectStore> make_memory_store(const WallClock& clock = system_clock());

}  // namespace thaw
