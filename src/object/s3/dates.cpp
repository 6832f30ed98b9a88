#include "object/s3/dates.h"

#include <chrono>
#include <string>

namespace thaw::s3 {
namespace {

std::optional<int> number(std::string_view digits) {
  int value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

// "" and ".5" to nanoseconds.
std::optional<int64_t> fraction_ns(std::string_view text) {
  if (text.empty()) return 0;
  if (text.front() != '.' || text.size() < 2 || text.size() > 10) return std::nullopt;
  std::string digits(text.substr(1));
  digits.resize(9, '0');
  const auto ns = number(digits);
  if (!ns) return std::nullopt;
  return *ns;
}

// Empty for what is no date, or does not fit into a Timestamp.
std::optional<Timestamp> instant(int year, int month, int day, int hour, int minute, int second,
                                 int64_t ns) {
  if (year < 1970 || year > 2261 || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return std::nullopt;
  const std::chrono::sys_seconds at = std::chrono::sys_days(date) + std::chrono::hours(hour) +
                                      std::chrono::minutes(minute) + std::chrono::seconds(second);
  return Timestamp{at.time_since_epoch().count() * 1'000'000'000 + ns};
}

}  // namespace

std::optional<Timestamp> parse_iso_date(std::string_view text) {
  constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd";
  if (text.size() <= kShape.size() || text.back() != 'Z') return std::nullopt;
  for (size_t i = 0; i < kShape.size(); ++i) {
    if (kShape[i] != 'd' && text[i] != kShape[i]) return std::nullopt;
  }
  const auto part = [&](size_t at, size_t size) { return number(text.substr(at, size)); };
  const auto year = part(0, 4);
  const auto month = part(5, 2);
  const auto day = part(8, 2);
  const auto hour = part(11, 2);
  const auto minute = part(14, 2);
  const auto second = part(17, 2);
  const auto ns = fraction_ns(text.substr(kShape.size(), text.size() - kShape.size() - 1));
  if (!year || !month || !day || !hour || !minute || !second || !ns) return std::nullopt;
  return instant(*year, *month, *day, *hour, *minute, *second, *ns);
}

std::optional<Timestamp> parse_http_date(std::string_view text) {
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  constexpr std::string_view kShape = "ddd, dd ddd dddd dd:dd:dd GMT";
  if (text.size() != kShape.size()) return std::nullopt;
  for (size_t i = 0; i < kShape.size(); ++i) {
    if (kShape[i] != 'd' && text[i] != kShape[i]) return std::nullopt;
  }
  const size_t month = kMonths.find(text.substr(8, 3));
  const auto day = number(text.substr(5, 2));
  const auto year = number(text.substr(12, 4));
  const auto hour = number(text.substr(17, 2));
  const auto minute = number(text.substr(20, 2));
  const auto second = number(text.substr(23, 2));
  if (month == std::string_view::npos || month % 3 != 0) return std::nullopt;
  if (!day || !year || !hour || !minute || !second) return std::nullopt;
  return instant(*year, static_cast<int>(month / 3) + 1, *day, *hour, *minute, *second, 0);
}

}  // namespace thaw::s3
