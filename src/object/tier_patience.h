// How long a reader waits for what only could be faster than the store. Internal to block_cache.
#pragma once

#include <algorithm>
#include <chrono>

#include "base/context.h"

namespace thaw {

// `most`, but never more than a quarter of what the reader has left: a tier that is silent, or
// another process that does not come to an end, shall leave time for the store. So much is asked
// for a few times in a row, until the tier's breaker opens.
inline std::chrono::milliseconds patience(const Context& context, std::chrono::milliseconds most) {
  constexpr int kShares = 4;
  const auto left = context.remaining();
  return left ? std::min(most, *left / kShares) : most;
}

}  // namespace thaw
