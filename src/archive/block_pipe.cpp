#include "archive/block_pipe.h"

#include <chrono>
#include <utility>

namespace thaw::archive {
namespace {

// Neither a deadline nor a stop flag wakes a waiter, so it looks at them now and then.
constexpr std::chrono::milliseconds kLook{20};

}  // namespace

Result<> BlockPipe::push(const Context& context, Buffer block) {
  if (block.empty()) return {};
  std::unique_lock lock(mutex_);
  while (blocks_.size() >= most_blocks_ && !left_) {
    THAW_CHECK(context.alive());
    changed_.wait_for(lock, kLook);
  }
  if (left_) return Error(Code::cancelled, "nobody reads on");
  blocks_.push_back(std::move(block));
  lock.unlock();
  changed_.notify_all();
  return {};
}

void BlockPipe::close(std::optional<Error> error) {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    error_ = std::move(error);
  }
  changed_.notify_all();
}

Result<Buffer> BlockPipe::pull(const Context& context) {
  std::unique_lock lock(mutex_);
  while (blocks_.empty() && !closed_) {
    THAW_CHECK(context.alive());
    changed_.wait_for(lock, kLook);
  }
  if (blocks_.empty()) {
    if (error_) return *error_;
    return Buffer();
  }
  Buffer block = std::move(blocks_.front());
  blocks_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return block;
}

void BlockPipe::leave() {
  {
    const std::lock_guard lock(mutex_);
    left_ = true;
    blocks_.clear();
  }
  changed_.notify_all();
}

}  // namespace thaw::archive
