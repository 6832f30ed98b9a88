// Percent-encoding (RFC 3986, 2.1).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace thaw {

// All but unreserved characters (letters, digits, - . _ ~) and those in `kept` as %XX.
std::string percent_encoded(std::string_view text, std::string_view kept = "");
// Empty when a '%' begins no two hexadecimal digits.
std::optional<std::string> percent_decoded(std::string_view text);

}  // namespace thaw
