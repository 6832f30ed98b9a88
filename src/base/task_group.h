// TaskGroup: the one place where worker threads start.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/context.h"

namespace thaw {

// A fixed set of threads over a bounded queue. The first task that fails stops the group: its
// context ends, tasks not begun are dropped, and wait() returns that first error.
// submit() is thread-safe, but not for the group's own tasks (a full queue would wait for itself);
// wait() is for the owner, once nobody submits any more. The destructor stops and joins.
class TaskGroup {
 public:
  using Task = std::function<Result<>(const Context&)>;

  TaskGroup(const Context& parent, unsigned threads, size_t queue_limit);
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Blocks while the queue is full. After a failure the task is dropped; wait() tells why.
  void submit(Task task);
  // Runs everything submitted to its end. The group takes no further tasks.
  Result<> wait();
  // Drops what has not begun, ends the context and waits for what is running. For the owner.
  void stop_and_join();
  // The first task's error so far, if any. Thread-safe.
  std::optional<Error> failure();
  // Ends when a task fails or the parent ends.
  const Context& context() const { return context_; }

 private:
  void work();
  void fail(Error error);
  void join();

  StopFlag stop_;
  Context context_;
  std::mutex mutex_;
  std::condition_variable space_;
  std::condition_variable ready_;
  std::deque<Task> queue_;
  const size_t queue_limit_;
  bool closed_ = false;
  std::optional<Error> error_;
  std::vector<std::thread> threads_;
};

// Calls task(context, worker, index) for every index below count, on up to `threads` threads that
// take the next index in turn; worker < threads names the calling thread, for scratch memory of its
// own. Returns the first error; after it no new index begins. With one thread it runs in place.
Result<> parallel_for(
    const Context& context, unsigned threads, size_t count,
    const std::function<Result<>(const Context&, unsigned worker, size_t index)>& task);

// The cores this process may run on (its affinity mask), at least 1.
unsigned usable_cores();

}  // namespace thaw
