#include "cli/progress_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "base/bytes.h"
#include "cli/text.h"

namespace thaw::cli {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirst{300};
constexpr milliseconds kEach{125};

size_t terminal_width() {
  struct winsize size {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

// A background job that writes may be stopped for it.
bool in_foreground() { return ::tcgetpgrp(STDERR_FILENO) == ::getpgrp(); }

// One write, so that a redraw never shows half done. The cursor ends at the left, where a line of
// the log may then begin.
void draw(const std::string& text) {
  const std::string line = "\r" + text + "\x1b[K\r";
  // A terminal that is gone is no reason to fail.
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, line.data(), line.size());
}

// Watches one step after the other, and how fast it goes.
class Speedometer {
 public:
  ProgressView look(const Progress& progress) {
    const auto now = Clock::now();
    ProgressView view;
    const char* step = progress.step;
    view.step = step;
    view.bytes_done = progress.bytes_done;
    view.bytes_total = progress.bytes_total;
    view.files_done = progress.files_done;
    view.files_total = progress.files_total;
    if (step != step_ || view.bytes_done < last_bytes_) {
      step_ = step;
      began_ = last_ = now;
      last_bytes_ = view.bytes_done;
      rate_ = 0;
    }
    view.step_took = std::chrono::duration_cast<milliseconds>(now - began_);
    const double passed_s = std::chrono::duration<double>(now - last_).count();
    if (passed_s > 0) {
      const double rate = static_cast<double>(view.bytes_done - last_bytes_) / passed_s;
      // Smoothed over some two seconds, however often it is looked at.
      const double weight = rate_ == 0 ? 1 : 1 - std::exp(-passed_s / 2);
      rate_ += (rate - rate_) * weight;
      last_ = now;
      last_bytes_ = view.bytes_done;
    }
    view.bytes_per_s = rate_;
    return view;
  }

 private:
  const char* step_ = nullptr;
  Clock::time_point began_;
  Clock::time_point last_;
  uint64_t last_bytes_ = 0;
  double rate_ = 0;
};

std::string percent_text(uint64_t done, uint64_t total) {
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  return fmt::format("{:3.0f}%", std::floor(share * 100));
}

std::string left_text(const ProgressView& view) {
  // An estimate from the first moments is a guess.
  if (view.step_took < milliseconds(1000) || view.bytes_per_s < 1) return "";
  if (view.bytes_total <= view.bytes_done) return "";
  const double left_s = static_cast<double>(view.bytes_total - view.bytes_done) / view.bytes_per_s;
  if (left_s > 99.0 * 3600) return "";
  const auto s = static_cast<uint64_t>(std::ceil(left_s));
  if (s < 60) return fmt::format("{} s left", s);
  if (s < 3600) return fmt::format("{}:{:02} min left", s / 60, s % 60);
  return fmt::format("{}:{:02} h left", s / 3600, s / 60 % 60);
}

}  // namespace

std::string progress_text(const ProgressView& view, size_t width) {
  std::vector<std::string> parts;
  if (view.bytes_total > 0) {
    parts.push_back(percent_text(view.bytes_done, view.bytes_total));
    parts.push_back(
        fmt::format("{} of {}", human_size(view.bytes_done), human_size(view.bytes_total)));
  } else if (view.files_total > 0) {
    parts.push_back(percent_text(view.files_done, view.files_total));
  } else if (view.bytes_done > 0) {
    parts.push_back(human_size(view.bytes_done));
  }
  if (view.bytes_per_s >= 1) {
    parts.push_back(human_size(static_cast<uint64_t>(view.bytes_per_s)) + "/s");
  }
  if (auto left = left_text(view); !left.empty()) parts.push_back(std::move(left));
  if (view.files_total > 0) {
    parts.push_back(
        fmt::format("{} of {}", grouped(view.files_done), counted(view.files_total, "file")));
  } else if (view.files_done > 0) {
    parts.push_back(counted(view.files_done, "file"));
  }

  std::string text = fmt::format("{:<10}", view.step);
  if (text.size() > width) text.resize(width);
  for (const std::string& part : parts) {
    if (text.size() + 2 + part.size() > width) break;
    text += "  " + part;
  }
  return text;
}

bool can_show_progress() {
  if (::isatty(STDERR_FILENO) == 0) return false;
  const char* terminal = std::getenv("TERM");
  return terminal != nullptr && std::string_view(terminal) != "dumb";
}

ProgressLine::ProgressLine(const Progress& progress) : progress_(progress), group_(root_, 1, 1) {
  group_.submit([this](const Context& /*context*/) { return redraw_until_done(); });
}

ProgressLine::~ProgressLine() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  ended_.notify_all();
  // Drawing cannot fail.
  [[maybe_unused]] const auto drawn = group_.wait();
}

Result<> ProgressLine::redraw_until_done() {
  Speedometer speedometer;
  bool drawn = false;
  std::unique_lock lock(mutex_);
  for (auto pause = kFirst; !ended_.wait_for(lock, pause, [this] { return done_; });
       pause = kEach) {
    const ProgressView view = speedometer.look(progress_);
    if (!in_foreground()) continue;
    // A line as wide as the terminal wraps on some.
    draw(progress_text(view, terminal_width() - 1));
    drawn = true;
  }
  if (drawn && in_foreground()) draw("");
  return {};
}

}  // namespace thaw::cli
