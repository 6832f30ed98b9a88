// BlockPipe: a bounded queue of blocks between two threads.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>

#include "base/bytes.h"
#include "base/context.h"

namespace thaw::archive {

// Where a stream of bytes goes, block by block. An error ends the stream, which answers it.
using BlockSink = std::function<Result<>(Buffer)>;
// Where it comes from: the next block, never empty; an empty Buffer at the end, and after it.
using BlockSupply = std::function<Result<Buffer>(const Context&)>;
// A stream as a whole: gives all of it to a sink, on the caller's thread.
using BlockStream = std::function<Result<>(const Context&, const BlockSink&)>;

// One thread pushes and closes, another one pulls. Outlives both.
class BlockPipe {
 public:
  explicit BlockPipe(size_t most_blocks) : most_blocks_(most_blocks) {}

  // Waits for room. Code::cancelled once nobody pulls any more. Empty blocks are dropped.
  Result<> push(const Context& context, Buffer block);
  // Nothing follows; with an error, that is what pull() answers after the blocks before it.
  void close(std::optional<Error> error = std::nullopt);

  // Waits for a block; empty at the end.
  Result<Buffer> pull(const Context& context);
  // Nobody will pull: push() fails from now on.
  void leave();

 private:
  const size_t most_blocks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Buffer> blocks_;
  bool closed_ = false;
  bool left_ = false;
  std::optional<Error> error_;
};

}  // namespace thaw::archive
