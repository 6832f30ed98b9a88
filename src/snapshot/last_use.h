// When a key was last used: retention by age keeps what is used (docs/gc.md, "Retention").
#pragma once

#include <chrono>

#include "base/context.h"
#include "format/key.h"
#include "format/record.h"
#include "object/store.h"

namespace thaw {

// How often a use is worth a request.
inline constexpr std::chrono::hours kUseInterval{6};

// Notes in the store that the entry was used now, unless that was noted, or the entry published,
// within kUseInterval: then no request, or one. Errors are for who wants to log them.
Result<> note_use(const Context& context, ObjectStore& store, const Entry& entry);

}  // namespace thaw
