// Presets: caches that many projects have.
#pragma once

#include <string>
#include <string_view>

#include "cache/definition.h"

namespace thaw::cache {

// Null where there is none of that name.
const Definition* find_preset(std::string_view name);
// "npm, cargo or pip", for messages.
std::string preset_names();

}  // namespace thaw::cache
