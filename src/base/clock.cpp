#include "base/clock.h"

#include <ctime>

namespace thaw {

std::string Timestamp::iso8601() const {
  time_t seconds = static_cast<time_t>(ns / 1'000'000'000);
  if (ns % 1'000'000'000 < 0) --seconds;
  struct tm utc {};
  gmtime_r(&seconds, &utc);
  char text[40];
  const size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {text, n};
}

namespace {
class SystemClock final : public WallClock {
 public:
  Timestamp now() const override {
    const auto since = std::chrono::system_clock::now().time_since_epoch();
    return {std::chrono::duration_cast<std::chrono::nanoseconds>(since).count()};
  }
};
}  // namespace

const WallClock& system_clock() {
  static const SystemClock clock;
  return clock;
}

}  // namespace thaw
