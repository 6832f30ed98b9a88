#include "app/duration.h"

#include <charconv>
#include <cmath>
#include <string>

namespace thaw {
namespace {

constexpr double kMostMs = 10.0 * 365 * 24 * 3600 * 1000;

struct Unit {
  std::string_view name;
  double ms;
};
// "ms" before "m": the first that fits is taken.
constexpr Unit kUnits[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};

Error refused(std::string_view text, std::string_view why) {
  return {Code::invalid, "\"" + std::string(text) + "\" is no duration: " + std::string(why) +
                             " (like 30s, 5m, 500ms)"};
}

// Takes a unit's name off the front of `rest`; its length in milliseconds, or 0.
double take_unit(std::string_view& rest) {
  for (const Unit& unit : kUnits) {
    if (!rest.starts_with(unit.name)) continue;
    rest.remove_prefix(unit.name.size());
    return unit.ms;
  }
  return 0;
}

}  // namespace

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  if (text.empty()) return refused(text, "it is empty");
  double total_ms = 0;
  for (std::string_view rest = text; !rest.empty();) {
    double number = 0;
    const auto [end, fault] =
        std::from_chars(rest.data(), rest.data() + rest.size(), number, std::chars_format::fixed);
    const auto length = static_cast<size_t>(end - rest.data());
    // from_chars also knows "inf", "nan" and a minus.
    if (fault != std::errc() || rest.front() < '0' || rest.front() > '9') {
      return refused(text, "write numbers with their units");
    }
    rest.remove_prefix(length);
    const double unit_ms = take_unit(rest);
    if (unit_ms == 0) return refused(text, "the units are ms, s, m, h and d");
    total_ms += number * unit_ms;
    if (!(total_ms <= kMostMs)) return refused(text, "more than ten years");
  }
  const auto rounded = std::chrono::milliseconds(std::llround(total_ms));
  if (rounded.count() == 0) return refused(text, "it is nothing");
  return rounded;
}

}  // namespace thaw
