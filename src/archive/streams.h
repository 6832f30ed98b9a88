// Where archives come from: a file or an object, fetched and decompressed by threads of their own.
#pragma once

#include <atomic>
#include <string>

#include "archive/block_pipe.h"
#include "archive/decompress.h"
#include "base/task_group.h"
#include "object/store.h"

namespace thaw::archive {

// The bytes of a file, or of a pipe. Errors: not_found, denied, invalid (a directory).
BlockStream file_stream(std::string path);
// The bytes of an object, in the version that is there when it begins, with several gets ahead.
// Errors: not_found, busy (it changed meanwhile), and what the store answers. `store` outlives the
// stream.
BlockStream object_stream(ObjectStore& store, ObjectKey key);

// A stream on its way: one thread fetches, one decompresses, and the owner takes the blocks.
class Decompressing {
 public:
  // The context outlives it.
  Decompressing(const Context& context, BlockStream source);
  Decompressing(const Decompressing&) = delete;
  Decompressing& operator=(const Decompressing&) = delete;
  ~Decompressing();

  // The next block; empty at the end. For one thread.
  Result<Buffer> next(const Context& context) { return plain_.pull(context); }
  // Known once next() answered.
  Compression compression() const { return compression_; }
  uint64_t fetched_bytes() const { return fetched_; }

 private:
  const BlockStream source_;
  BlockPipe stored_;
  BlockPipe plain_;
  std::atomic<Compression> compression_{Compression::none};
  std::atomic<uint64_t> fetched_{0};
  TaskGroup group_;  // last: its threads use what is above
};

}  // namespace thaw::archive
