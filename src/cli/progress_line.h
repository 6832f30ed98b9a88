// The one line on a terminal that says how far a command has come.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>

#include "base/task_group.h"
#include "snapshot/progress.h"

namespace thaw::cli {

// What a line shows.
struct ProgressView {
  std::string step;
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;  // 0: unknown, as with files
  uint64_t files_done = 0;
  uint64_t files_total = 0;
  double bytes_per_s = 0;  // 0: not known yet
  std::chrono::milliseconds step_took{0};
};

// At most `width` columns: the parts that do not fit are left out, the last first.
std::string progress_text(const ProgressView& view, size_t width);

// Whether somebody would see the line: standard error is a terminal that can redraw.
bool can_show_progress();

// Draws on standard error from its making to its destruction, which clears the line and does not
// wait for the next redraw. Draws nothing in the first moments, nor while in the background. The
// Progress outlives it.
class ProgressLine {
 public:
  explicit ProgressLine(const Progress& progress);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

 private:
  Result<> redraw_until_done();

  const Progress& progress_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;
  // It shows the last steps of a stop too, so its context is nobody's but its own.
  const Context root_;
  TaskGroup group_;  // last: its thread uses all of the above
};

}  // namespace thaw::cli
