#include "run/settle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <thread>

#include "base/fd.h"
#include "golden/place.h"
#include "golden/walk.h"

namespace thaw::run {
namespace {

using std::chrono::milliseconds;
using Clock = Context::Clock;

// A look at a tree of 60,000 names takes about 0.1 s of a core that nobody else wants.
constexpr milliseconds kLongestPause{500};
constexpr milliseconds kShortestPause{10};

// proc(5): "12 (a name) T …", where the name may hold anything. Who is gone is not stopped.
bool is_stopped(pid_t process) {
  const auto file = open_path(fmt::format("/proc/{}/stat", process), O_RDONLY);
  if (!file) return false;
  std::array<char, 256> text{};
  const ssize_t n = ::read(file->get(), text.data(), text.size());
  if (n <= 0) return false;
  const std::string_view line(text.data(), static_cast<size_t>(n));
  const size_t end = line.rfind(") ");
  if (end == std::string_view::npos || end + 2 >= line.size()) return false;
  return line[end + 2] == 'T' || line[end + 2] == 't';
}

Result<std::vector<Mark>> mark_all(const Context& context, const SettleRequest& request) {
  std::vector<Mark> marks;
  for (const std::string& path : request.paths) {
    THAW_ASSIGN(const Mark mark, mark_tree(context, path, request.left_out));
    marks.push_back(mark);
  }
  return marks;
}

}  // namespace

Result<Mark> mark_tree(const Context& context, const std::string& path, const LeftOut& left_out) {
  // What is restored to and saved is what a link leads to.
  const auto resolved = golden::real_path(path);
  const std::string root = resolved ? *resolved : path;
  std::vector<std::string> own;
  for (const std::string& place : left_out.places) {
    if (place.starts_with(root + "/")) own.push_back(place.substr(root.size() + 1));
  }
  golden::LeavesOut leaves_out;
  if (!own.empty() || !left_out.globs.empty()) {
    leaves_out = [&](const std::string& below) {
      return left_out.globs.match(below) || std::find(own.begin(), own.end(), below) != own.end();
    };
  }
  const auto measure = golden::measure(context, root, 1, leaves_out);
  if (measure) return Mark(measure->fingerprint);
  THAW_CHECK(context.alive());
  const Code code = measure.error().code();
  // What is listed while it vanishes has changed: no number says what it was.
  return code == Code::not_found || code == Code::denied ? Mark(0) : std::nullopt;
}

Result<Settled> settle(const Context& context, const StopFlag& hurry,
                       const SettleRequest& request) {
  const milliseconds between = std::clamp(request.quiet / 4, kShortestPause, kLongestPause);
  std::vector<Mark> last;
  auto since = Clock::now();
  while (true) {
    THAW_CHECK(context.alive());
    if (hurry.stopped()) {
      THAW_ASSIGN(std::vector<Mark> now, mark_all(context, request));
      return Settled{.hurried = true, .marks = std::move(now)};
    }
    // What changes during a look may be seen or not: the look's beginning is what counts.
    const auto began = Clock::now();
    THAW_ASSIGN(std::vector<Mark> now, mark_all(context, request));
    const bool whole = std::all_of(now.begin(), now.end(), [](const Mark& each) { return !!each; });
    if (!whole || now != last || (request.command != 0 && is_stopped(request.command))) {
      since = Clock::now();
    } else if (began - since >= request.quiet) {
      return Settled{.marks = std::move(now)};
    }
    last = std::move(now);
    std::this_thread::sleep_for(between);
  }
}

}  // namespace thaw::run
