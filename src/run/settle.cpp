#include "run/settle.h"

#include <algorithm>
#include <optional>
#include <thread>

#include "golden/place.h"
#include "golden/walk.h"

namespace thaw::run {
namespace {

using std::chrono::milliseconds;
using Clock = Context::Clock;

// A look at a tree of 60,000 names takes about 0.1 s of a core that nobody else wants.
constexpr milliseconds kLongestPause{500};
constexpr milliseconds kShortestPause{10};

// What is listed while it vanishes has changed: no number says what it was.
std::optional<uint64_t> fingerprint(const Context& context, const std::vector<std::string>& paths) {
  uint64_t all = 0;
  for (const std::string& path : paths) {
    // What is restored to and saved is what a link leads to.
    const auto real = golden::real_path(path);
    const auto measure = golden::measure(context, real ? *real : path, 1);
    if (measure) {
      all = all * 31 + measure->fingerprint;
    } else if (measure.error().code() != Code::not_found &&
               measure.error().code() != Code::denied) {
      return std::nullopt;
    } else {
      all *= 31;
    }
  }
  return all;
}

}  // namespace

Result<Settled> settle(const Context& context, const StopFlag& hurry,
                       const std::vector<std::string>& paths, milliseconds quiet) {
  const milliseconds between = std::clamp(quiet / 4, kShortestPause, kLongestPause);
  std::optional<uint64_t> last;
  auto since = Clock::now();
  while (true) {
    THAW_CHECK(context.alive());
    if (hurry.stopped()) return Settled::hurried;
    // What changes during a look may be seen or not: the look's beginning is what counts.
    const auto began = Clock::now();
    const auto now = fingerprint(context, paths);
    if (!now || now != last) {
      since = Clock::now();
    } else if (began - since >= quiet) {
      return Settled::quiet;
    }
    last = now;
    std::this_thread::sleep_for(between);
  }
}

}  // namespace thaw::run
