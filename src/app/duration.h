// Durations as people write them.
#pragma once

#include <chrono>
#include <string_view>

#include "base/result.h"

namespace thaw {

// "500ms", "30s", "1.5m", "1h30m": numbers, each with its unit (ms, s, m, h, d). A bare number is
// refused, because half of the world's tools mean seconds by it and the other half milliseconds; so
// is nothing at all ("0s"), which half of them take for "no limit". At most ten years.
Result<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace thaw
