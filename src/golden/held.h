// A generation that is kept from being removed while somebody reads it.
#pragma once

#include <cstdint>

#include "base/context.h"
#include "golden/lock.h"
#include "golden/name.h"
#include "golden/place.h"

namespace thaw::golden {

// Move-only; the generation may be removed when it is destroyed.
struct HeldGeneration {
  uint64_t number = 0;
  Lock lock;
};

// The one that `ref` names, or the current one. not_found; busy: the name's lock.
Result<HeldGeneration> hold_generation(const Context& context, const Place& place, const Ref& ref);

}  // namespace thaw::golden
