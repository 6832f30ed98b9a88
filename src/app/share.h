// Shares of a whole as people write them.
#pragma once

#include <string_view>

#include "base/result.h"

namespace thaw {

// "15%", "0.5%": from 0 to 1. A bare number is refused.
Result<double> parse_share(std::string_view text);

}  // namespace thaw
