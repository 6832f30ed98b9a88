#include "app/setting_values.h"

#include <fmt/format.h>

namespace thaw {

Error expected(std::string_view what) { return {Code::invalid, fmt::format("expected {}", what)}; }

Result<std::string> text_of(const SettingValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) return expected("a text in quotes");
  if (text->find('\0') != std::string::npos) return expected("a text without a NUL");
  return *text;
}

Result<bool> switch_of(const SettingValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  if (const auto* text = std::get_if<std::string>(&value)) {
    for (const char* yes : {"on", "true", "yes", "1"}) {
      if (*text == yes) return true;
    }
    for (const char* no : {"off", "false", "no", "0"}) {
      if (*text == no) return false;
    }
  }
  return expected("\"on\" or \"off\"");
}

Result<int64_t> integer_of(const SettingValue& value, int64_t least, int64_t most) {
  const auto* number = std::get_if<int64_t>(&value);
  if (number == nullptr || *number < least || *number > most) {
    return expected(fmt::format("a whole number from {} to {}", least, most));
  }
  return *number;
}

Result<double> share_of(const SettingValue& value) {
  double number = -1;
  if (const auto* real = std::get_if<double>(&value)) number = *real;
  if (const auto* integer = std::get_if<int64_t>(&value)) number = static_cast<double>(*integer);
  if (!(number >= 0 && number <= 1)) return expected("a share from 0 to 1, like 0.5");
  return number;
}

}  // namespace thaw
