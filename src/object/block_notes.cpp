#include "object/block_notes.h"

#include <algorithm>
#include <system_error>

#include "base/log.h"

namespace thaw {

using Kind = BlockNote::Kind;

BlockNotes::BlockNotes(std::unique_ptr<RecencyIndex> index, BlockNotesOptions options,
                       const WallClock& clock, TierMeter& meter, const Context& process)
    : index_(std::move(index)),
      options_(options),
      clock_(clock),
      meter_(meter),
      process_(process),
      breaker_(options.breaker_failures, options.breaker_rest) {}

BlockNotes::~BlockNotes() {
  if (!thread_) return;
  drain();
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    drop(waiting_.size());
    newest_.clear();
    waiting_.clear();
  }
  ready_.notify_all();
  // Stops the call under way; its notes count as dropped, too.
  thread_->stop_and_join();
}

std::string BlockNotes::describe() const { return index_ ? index_->describe() : ""; }

void BlockNotes::drain() {
  const Context limited = process_.within(options_.drain_time);
  std::unique_lock lock(mutex_);
  hurry_ = true;
  ready_.notify_all();
  while ((!waiting_.empty() || writing_) && limited.alive()) {
    // Stop flags do not signal the condition, so look at them a few times a second.
    idle_.wait_for(lock, std::chrono::milliseconds(20));
  }
}

void BlockNotes::drop(size_t notes) {
  meter_.notes_dropped.fetch_add(notes, std::memory_order_relaxed);
}

void BlockNotes::add(Kind kind, const ObjectKey& block, uint64_t bytes) {
  if (!index_) return;
  const Timestamp now = clock_.now();
  const std::lock_guard lock(mutex_);
  const auto found = newest_.find(block.text());
  if (found != newest_.end() && merges(*found->second, {kind, block, now, bytes})) return;
  if (off_ || closed_ || waiting_.size() >= options_.most_blocks || !start_thread()) {
    return drop(1);
  }
  waiting_.push_back({kind, block, now, bytes});
  BlockNote& note = waiting_.back();
  newest_.insert_or_assign(note.block.text(), &note);
  // The thread lingers by itself; it is woken for the first note, and for many.
  if (waiting_.size() == 1 || waiting_.size() == options_.most_blocks / 2) ready_.notify_all();
}

// Whether what waits says both now. After an eviction nothing is the same, so what follows one is a
// note of its own.
bool BlockNotes::merges(BlockNote& waiting, const BlockNote& note) {
  if (waiting.kind == Kind::evict && note.kind != Kind::evict) return false;
  waiting.at = std::max(waiting.at, note.at);
  if (note.kind == Kind::touch) return true;
  waiting.kind = note.kind;
  waiting.bytes = note.bytes;
  return true;
}

// Under the mutex. A machine that has no thread to spare does without.
bool BlockNotes::start_thread() {
  if (thread_) return true;
  try {
    thread_ = std::make_unique<TaskGroup>(process_, 1, 1);
  } catch (const std::system_error& error) {
    log::info("notes for {}: {}", index_->describe(), error.what());
    return false;
  }
  thread_->submit([this](const Context& context) { return work(context); });
  return true;
}

// --- the thread

Result<> BlockNotes::work(const Context& context) {
  while (true) {
    const Notes notes = next();
    if (notes.empty()) return {};
    write(context, notes);
    const std::lock_guard lock(mutex_);
    writing_ = false;
    idle_.notify_all();
  }
}

// All that waits, after a while; nothing at the end.
BlockNotes::Notes BlockNotes::next() {
  std::unique_lock lock(mutex_);
  ready_.wait(lock, [this] { return closed_ || !waiting_.empty(); });
  ready_.wait_for(lock, options_.linger, [this] {
    return closed_ || hurry_ || waiting_.size() >= options_.most_blocks / 2;
  });
  newest_.clear();
  Notes notes = std::exchange(waiting_, {});
  writing_ = !notes.empty();
  return notes;
}

void BlockNotes::write(const Context& context, const Notes& notes) {
  for (size_t from = 0; from < notes.size(); from += options_.batch) {
    const size_t to = std::min(from + options_.batch, notes.size());
    if (apply(context, notes, from, to)) {
      meter_.notes.fetch_add(to - from, std::memory_order_relaxed);
    } else {
      drop(to - from);
    }
  }
}

Result<> BlockNotes::apply(const Context& context, const Notes& notes, size_t from, size_t to) {
  using Outcome = TierBreaker::Outcome;
  THAW_CHECK(context.alive());
  {
    const std::lock_guard lock(mutex_);
    if (off_) return Error(Code::denied, "it is asked no more");
  }
  const TierBreaker::Permit permit = breaker_.enter(Context::Clock::now());
  if (permit == TierBreaker::Permit::no) return Error(Code::unavailable, "it is left alone");
  const std::vector<BlockNote> batch(notes.begin() + static_cast<ptrdiff_t>(from),
                                     notes.begin() + static_cast<ptrdiff_t>(to));
  const Context limited = context.within(options_.timeout);
  auto applied = index_->apply(limited, batch);
  const auto now = Context::Clock::now();
  if (applied) {
    breaker_.settle(permit, Outcome::hit, now);
    return {};
  }
  if (!context.alive()) {
    breaker_.settle(permit, Outcome::unknown, now);
    return applied;
  }
  breaker_.settle(permit, Outcome::failed, now);
  meter_.index_failures.fetch_add(1, std::memory_order_relaxed);
  const Code code = applied.error().code();
  log::info("a tier's index: {}", applied.error().text());
  if (code == Code::denied || code == Code::invalid) {
    const std::lock_guard lock(mutex_);
    off_ = true;
  }
  return applied;
}

}  // namespace thaw
