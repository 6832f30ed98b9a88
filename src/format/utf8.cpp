#include "format/utf8.h"

#include <fmt/format.h>

#include <cstdint>

namespace thaw {

bool is_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<uint8_t>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<uint8_t>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    const auto second = static_cast<uint8_t>(text[i + 1]);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
        (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
      return false;
    }
    i += length;
  }
  return true;
}

bool has_control_characters(std::string_view text) {
  uint8_t before = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    // U+0080 to U+009F are C2 80 to C2 9F; terminals take some of them for escape sequences.
    if (byte < 0x20 || byte == 0x7f || (before == 0xc2 && byte < 0xa0)) return true;
    before = byte;
  }
  return false;
}

std::string escaped(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  while (!text.empty()) {
    const auto lead = static_cast<uint8_t>(text.front());
    const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    const std::string_view one = text.substr(0, length);
    const bool is_fine = is_utf8(one) && !has_control_characters(one);
    if (is_fine) {
      safe += one;
    } else {
      safe += fmt::format("\\x{:02x}", lead);
    }
    text.remove_prefix(is_fine ? one.size() : 1);
  }
  return safe;
}

std::string_view beginning_of(std::string_view text, size_t most_bytes) {
  if (text.size() <= most_bytes) return text;
  const auto continues = [&](size_t at) { return (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80; };
  size_t end = most_bytes;
  // No character is longer than four bytes; what is none may be cut anywhere.
  while (end > 0 && most_bytes - end < 3 && continues(end)) --end;
  return text.substr(0, continues(end) ? most_bytes : end);
}

}  // namespace thaw
