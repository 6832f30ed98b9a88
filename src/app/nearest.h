// What somebody who wrote a wrong name probably meant.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace thaw {

// The name that takes the fewest edits, when these are few enough to be a slip; else empty. A
// dotted name is also compared by its last part alone ("allow_empty" finds "policy.allow_empty").
std::optional<std::string> nearest_name(std::string_view wrong, std::span<const std::string> names);

// `; did you mean "…"?`, or nothing.
std::string did_you_mean(std::string_view wrong, std::span<const std::string> names);

}  // namespace thaw
