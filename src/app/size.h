// Sizes as people write them.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace thaw {

// "512KiB", "4MiB", "50GB", "1.5TiB", "100B": a number with its unit, decimal (kB, MB, GB, TB) or
// binary (KiB, MiB, GiB, TiB), whatever the case. A bare number is refused; so is nothing at all.
// At most 2^62 bytes.
Result<uint64_t> parse_size(std::string_view text);

}  // namespace thaw
