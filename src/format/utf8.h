// Text that comes from outside, checked before it becomes a name or is repeated to people.
#pragma once

#include <string>
#include <string_view>

namespace thaw {

// Well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, at most U+10FFFF.
bool is_utf8(std::string_view text);

// Whether `text` holds a control character (U+0000-1F, U+007F-9F). Precondition: is_utf8(text).
bool has_control_characters(std::string_view text);

// Safe to show, and well-formed UTF-8: control characters, and bytes that are no character, as
// \xNN.
std::string escaped(std::string_view text);

// The longest beginning of at most `most_bytes` bytes that ends in no character's midst.
std::string_view beginning_of(std::string_view text, size_t most_bytes);

}  // namespace thaw
