// A worker: a process of our own beside COMMAND, which does what may hang or take memory, and can
// be killed at any moment.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/fd.h"
#include "run/event_sink.h"

namespace thaw::run {

// What a worker says to who started it. One thread at a time.
class Reporter {
 public:
  explicit Reporter(int fd) : fd_(fd) {}
  // Waits while the pipe is full. Nothing is said once the other side is gone.
  void tell(const Event& event) const;

 private:
  int fd_;
};

// What a worker works with.
struct WorkerCalls {
  const Context& context;  // ends when the worker is asked to stop
  const StopFlag& hurry;   // set when COMMAND has ended: nothing changes any more
  const Reporter& reporter;
};
using WorkerBody = std::function<void(const WorkerCalls&)>;

struct WorkerOptions {
  enum class Priority { normal, low };
  Priority priority = Priority::normal;
  bool keeps_standard_error = false;
};

// Owns the process: one that is still there when this goes is killed, and waited for by nobody
// (who forked it reaps it). Move-only. One thread.
class Worker {
 public:
  // Forks: for a process of one thread. The worker has a process group of its own, no descriptor
  // but its pipe and standard ones that lead nowhere, and dies with this process. At low priority
  // it has the CPU and the disk only when nobody else wants them, and is the first to go when
  // memory is short.
  static Result<Worker> start(const WorkerOptions& options, const WorkerBody& body);

  Worker(Worker&& other) noexcept;
  Worker& operator=(Worker&&) = delete;
  ~Worker();

  pid_t pid() const { return pid_; }
  int fd() const { return reports_.get(); }
  // The events that have come. Never blocks.
  std::vector<Event> reports();
  void ask_to_stop() const;
  void hurry() const;
  void kill() const;
  // It was reaped: its number means nothing any more.
  void is_reaped() { pid_ = -1; }

 private:
  Worker(pid_t pid, UniqueFd reports) : pid_(pid), reports_(std::move(reports)) {}
  void send(int signal) const;

  pid_t pid_;
  UniqueFd reports_;
  std::string unread_;  // the beginning of a line
};

// The same low priority for this process.
void take_low_priority();

}  // namespace thaw::run
