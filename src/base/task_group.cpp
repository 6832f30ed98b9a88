#include "base/task_group.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <system_error>

namespace thaw {

TaskGroup::TaskGroup(const Context& parent, unsigned threads, size_t queue_limit)
    : context_(parent.with(stop_)), queue_limit_(std::max<size_t>(queue_limit, 1)) {
  threads_.reserve(threads);
  for (unsigned i = 0; i < std::max(threads, 1U); ++i) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      // Those that did start do all the work, only slower; thrown from here they would be lost.
      if (threads_.empty()) throw;
      break;
    }
  }
}

TaskGroup::~TaskGroup() { stop_and_join(); }

void TaskGroup::stop_and_join() {
  stop_.stop();
  join();
}

void TaskGroup::submit(Task task) {
  std::unique_lock lock(mutex_);
  space_.wait(lock, [this] { return queue_.size() < queue_limit_ || error_ || closed_; });
  if (error_ || closed_) return;
  queue_.push_back(std::move(task));
  lock.unlock();
  ready_.notify_one();
}

std::optional<Error> TaskGroup::failure() {
  const std::lock_guard lock(mutex_);
  return error_;
}

Result<> TaskGroup::wait() {
  join();
  if (error_) return *error_;
  return {};
}

void TaskGroup::join() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  ready_.notify_all();
  space_.notify_all();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

void TaskGroup::fail(Error error) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    queue_.clear();
  }
  stop_.stop();
  space_.notify_all();
  ready_.notify_all();
}

void TaskGroup::work() {
  while (true) {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [this] { return !queue_.empty() || closed_ || error_; });
    if (queue_.empty()) return;
    Task task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    space_.notify_one();
    auto alive = context_.alive();
    auto done = alive ? task(context_) : std::move(alive);
    if (!done) {
      fail(std::move(done).error());
      return;
    }
  }
}

Result<> parallel_for(const Context& context, unsigned threads, size_t count,
                      const std::function<Result<>(const Context&, unsigned, size_t)>& task) {
  const auto workers = static_cast<unsigned>(std::min<size_t>(std::max(threads, 1U), count));
  std::atomic<size_t> next{0};
  auto run = [&](const Context& inner, unsigned worker) -> Result<> {
    for (size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      THAW_CHECK(inner.alive());
      THAW_CHECK(task(inner, worker, i));
    }
    return {};
  };
  if (workers <= 1) return run(context, 0);
  std::optional<TaskGroup> group;
  try {
    group.emplace(context, workers, workers);
  } catch (const std::system_error&) {
    return run(context, 0);  // a machine without a thread to spare
  }
  for (unsigned worker = 0; worker < workers; ++worker) {
    group->submit([&run, worker](const Context& inner) { return run(inner, worker); });
  }
  return group->wait();
}

unsigned usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) {
    return std::max(std::thread::hardware_concurrency(), 1U);
  }
  return static_cast<unsigned>(std::max(CPU_COUNT(&set), 1));
}

}  // namespace thaw
