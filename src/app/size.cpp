#include "app/size.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

namespace thaw {
namespace {

constexpr double kMostBytes = 4611686018427387904.0;  // 2^62

struct Unit {
  std::string_view name;
  double bytes;
};
constexpr Unit kUnits[] = {{"b", 1},
                           {"kb", 1e3},
                           {"mb", 1e6},
                           {"gb", 1e9},
                           {"tb", 1e12},
                           {"kib", 1024},
                           {"mib", 1024.0 * 1024},
                           {"gib", 1024.0 * 1024 * 1024},
                           {"tib", 1024.0 * 1024 * 1024 * 1024}};

Error refused(std::string_view text, std::string_view why) {
  return {Code::invalid,
          "\"" + std::string(text) + "\" is no size: " + std::string(why) + " (like 4MiB, 50GB)"};
}

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
  if (text.empty()) return refused(text, "it is empty");
  double number = 0;
  const auto [end, fault] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  // from_chars also knows "inf", "nan" and a minus.
  if (fault != std::errc() || text.front() < '0' || text.front() > '9') {
    return refused(text, "write a number with its unit");
  }
  std::string name(text.substr(static_cast<size_t>(end - text.data())));
  std::transform(name.begin(), name.end(), name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  for (const Unit& unit : kUnits) {
    if (name != unit.name) continue;
    const double bytes = number * unit.bytes;
    if (!(bytes <= kMostBytes)) return refused(text, "more than 4 EiB");
    const auto whole = static_cast<uint64_t>(std::llround(bytes));
    if (whole == 0) return refused(text, "it is nothing");
    return whole;
  }
  return refused(text, "the units are B, kB, MB, GB, TB and KiB, MiB, GiB, TiB");
}

}  // namespace thaw
