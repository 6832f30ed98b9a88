#include "app/share.h"

#include <fmt/format.h>

#include <charconv>

namespace thaw {

Result<double> parse_share(std::string_view text) {
  double number = 0;
  const std::string_view digits = text.substr(0, text.size() - (text.ends_with('%') ? 1 : 0));
  const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), number,
                                            std::chars_format::fixed);
  const bool whole = fault == std::errc() && end == digits.data() + digits.size();
  if (!whole || !text.ends_with('%') || !(number >= 0 && number <= 100)) {
    return Error(Code::invalid, fmt::format("\"{}\" is no share of a disk (like 15%)", text));
  }
  return number / 100;
}

}  // namespace thaw
