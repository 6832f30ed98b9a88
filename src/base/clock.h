// Wall-clock instants. Durations and deadlines use Context's steady clock instead.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace thaw {

// Nanoseconds since 1970-01-01T00:00:00Z.
struct Timestamp {
  int64_t ns = 0;
  auto operator<=>(const Timestamp&) const = default;
  // "2026-03-01T12:00:00Z"; whole seconds.
  std::string iso8601() const;
};

// Where the time comes from; a test steps its own. Thread-safe.
class WallClock {
 public:
  virtual ~WallClock() = default;
  virtual Timestamp now() const = 0;
};

// The machine's clock.
const WallClock& system_clock();

}  // namespace thaw
