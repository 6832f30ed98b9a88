// BlockNotes: tells an index of uses, fills and removals, behind the readers' backs.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/task_group.h"
#include "object/recency_index.h"
#include "object/tier_breaker.h"
#include "object/tier_meter.h"

namespace thaw {

struct BlockNotesOptions {
  // Blocks with notes that wait; more are dropped. 200 bytes and a name each.
  size_t most_blocks = 16'384;
  size_t batch = 1024;                           // notes of one call of the index
  std::chrono::milliseconds linger{500};         // for company, before a batch is written
  std::chrono::milliseconds timeout{5000};       // of one call; longer counts as failed
  std::chrono::milliseconds drain_time{2000};    // for what waits, at the end
  unsigned breaker_failures = 3;                 // in a row; then it is left alone for
  std::chrono::milliseconds breaker_rest{5000};  // so long, doubling (tier_breaker.h)
};

// A bounded queue and one thread, which starts at the first note. Notes of one block that follow
// one another become one. Thread-safe; taking a note costs a lock and a look-up, waits for nothing
// and never fails: what there is no room for, what the index does not take and what is left after
// drain_time is dropped and counted in `meter`. An index that may not be written (Code::denied), or
// is not for us (Code::invalid), is asked no more. `meter` and `process`, the context of all calls,
// outlive it. Without an index (null) all of this is nothing.
class BlockNotes {
 public:
  BlockNotes(std::unique_ptr<RecencyIndex> index, BlockNotesOptions options, const WallClock& clock,
             TierMeter& meter, const Context& process);
  ~BlockNotes();
  BlockNotes(const BlockNotes&) = delete;
  BlockNotes& operator=(const BlockNotes&) = delete;

  void touched(const ObjectKey& block) { add(BlockNote::Kind::touch, block, 0); }
  void admitted(const ObjectKey& block, uint64_t bytes) {
    add(BlockNote::Kind::admit, block, bytes);
  }
  void evicted(const ObjectKey& block) { add(BlockNote::Kind::evict, block, 0); }
  // Null without one. For who asks it at once; it lives as long as this.
  RecencyIndex* index() const { return index_.get(); }
  // The index's own name; empty without one.
  std::string describe() const;

 private:
  using Notes = std::deque<BlockNote>;  // where they lie does not change as it grows

  void add(BlockNote::Kind kind, const ObjectKey& block, uint64_t bytes);
  static bool merges(BlockNote& waiting, const BlockNote& note);
  bool start_thread();
  Result<> work(const Context& context);
  Notes next();
  void write(const Context& context, const Notes& notes);
  Result<> apply(const Context& context, const Notes& notes, size_t from, size_t to);
  void drop(size_t notes);
  void drain();

  const std::unique_ptr<RecencyIndex> index_;
  const BlockNotesOptions options_;
  const WallClock& clock_;
  TierMeter& meter_;
  const Context& process_;
  TierBreaker breaker_;  // for the thread alone

  std::mutex mutex_;
  std::condition_variable ready_;  // notes wait, or it is over
  std::condition_variable idle_;   // everything is written
  Notes waiting_;
  std::unordered_map<std::string_view, BlockNote*> newest_;  // of a block, in waiting_
  bool hurry_ = false;                                       // nothing lingers
  bool writing_ = false;
  bool closed_ = false;
  bool off_ = false;  // the index is asked no more
  std::unique_ptr<TaskGroup> thread_;
};

}  // namespace thaw
