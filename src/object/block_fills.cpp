#include "object/block_fills.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <system_error>

#include "base/log.h"
#include "object/tier_marker.h"

namespace thaw {

BlockFills::BlockFills(ObjectStore& fast, const BlockCacheOptions& options, TierBreaker& breaker,
                       TierMeter& meter, BlockNotes& notes, BlockClaims* claims,
                       const WallClock& clock, const Context& process)
    : fast_(fast),
      options_(options),
      breaker_(breaker),
      meter_(meter),
      notes_(notes),
      process_(process),
      room_({&fast, notes.index(), claims}, options.max_bytes, clock, meter) {}

BlockFills::~BlockFills() {
  drain();
  std::deque<std::shared_ptr<Item>> left;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    left.swap(queue_);
  }
  drop(left.size());
  ready_.notify_all();
  // Stops what is being written; a write that is stopped counts as dropped, too.
  if (threads_) threads_->stop_and_join();
}

void BlockFills::drain() {
  const Context limited = process_.within(options_.drain_time);
  std::unique_lock lock(mutex_);
  // Nobody waits at a command's end for a tier that was given up.
  while (unfinished_ != 0 && limited.alive() && breaker_.is_closed()) {
    // Stop flags do not signal the condition, so look at them a few times a second.
    idle_.wait_for(lock, std::chrono::milliseconds(20));
  }
}

bool BlockFills::active() const { return options_.fill == TierFill::async && breaker_.is_closed(); }

bool BlockFills::keeps() const {
  return options_.fill == TierFill::async &&
         (options_.max_bytes == 0 || options_.max_bytes > options_.block_bytes);
}

void BlockFills::drop(size_t blocks) {
  meter_.fills_dropped.fetch_add(blocks, std::memory_order_relaxed);
}

bool BlockFills::has_room(uint64_t bytes) const {
  return held_bytes_ == 0 ||
         (bytes <= options_.fill_queue_bytes && held_bytes_ <= options_.fill_queue_bytes - bytes);
}

// Under the mutex. A machine that has no thread to spare does without fills.
bool BlockFills::start_threads() {
  if (threads_) return true;
  const unsigned count = std::max(options_.fill_threads, 1U);
  try {
    threads_ = std::make_unique<TaskGroup>(process_, count, count);
  } catch (const std::system_error& error) {
    log::warn("fill a tier: {}", error.what());
    return false;
  }
  for (unsigned i = 0; i < count; ++i) {
    threads_->submit([this](const Context& context) { return work(context); });
  }
  return true;
}

void BlockFills::prepare() {
  if (!active()) return;
  const std::lock_guard lock(mutex_);
  if (closed_ || prepared_ || threads_) return;
  prepared_ = true;
  preparing_.store(true);
  static_cast<void>(start_threads());
}

void BlockFills::add(std::vector<BlockFill> fills, uint64_t held_bytes) {
  if (options_.fill == TierFill::off || fills.empty()) return;
  const bool open = !breaker_.is_closed();
  std::unique_lock lock(mutex_);
  if (open || closed_ || !has_room(held_bytes) || !start_threads()) {
    lock.unlock();
    drop(fills.size());
    return;
  }
  const auto fetch = std::make_shared<Fetch>(Fetch{held_bytes, fills.size()});
  held_bytes_ += held_bytes;
  unfinished_ += fills.size();
  for (BlockFill& fill : fills) {
    auto item = std::make_shared<Item>(Item{std::move(fill), fetch});
    pending_.insert_or_assign(item->fill.name.text(), item);
    queue_.push_back(std::move(item));
  }
  lock.unlock();
  ready_.notify_all();
}

std::optional<FetchedBlock> BlockFills::pending(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = pending_.find(name);
  if (found == pending_.end()) return std::nullopt;
  const TierBlock& block = found->second->fill.block;
  return FetchedBlock{found->second->fill.data,
                      {block.object_bytes, block.etag, Timestamp{block.modified_ns}}};
}

void BlockFills::forget(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = pending_.find(name);
  if (found == pending_.end()) return;
  found->second->forgotten = true;
  pending_.erase(found);
}

void BlockFills::forget_prefix(std::string_view prefix) {
  const std::lock_guard lock(mutex_);
  std::erase_if(pending_, [&](const Items::value_type& each) {
    if (!each.first.starts_with(prefix)) return false;
    each.second->forgotten = true;
    return true;
  });
}

bool BlockFills::is_forgotten(const Item& item) const {
  const std::lock_guard lock(mutex_);
  return item.forgotten;
}

// --- the threads

Result<> BlockFills::work(const Context& context) {
  if (preparing_.exchange(false)) {
    const auto marked = mark(context.within(options_.fill_timeout));
    // The first fill tries once more, and says why it cannot.
    if (!marked) log::debug("{}: {}", fast_.describe(), marked.error().text());
  }
  while (const std::shared_ptr<Item> item = next()) {
    write(context, *item);
    finish(item);
  }
  return {};
}

std::shared_ptr<BlockFills::Item> BlockFills::next() {
  std::unique_lock lock(mutex_);
  ready_.wait(lock, [this] { return closed_ || !queue_.empty(); });
  if (queue_.empty()) return nullptr;
  std::shared_ptr<Item> item = std::move(queue_.front());
  queue_.pop_front();
  return item;
}

void BlockFills::finish(const std::shared_ptr<Item>& item) {
  item->fill.claim.reset();
  const std::lock_guard lock(mutex_);
  const auto found = pending_.find(item->fill.name.text());
  if (found != pending_.end() && found->second == item) pending_.erase(found);
  if (--item->fetch->left == 0) held_bytes_ -= item->fetch->held_bytes;
  if (--unfinished_ == 0) idle_.notify_all();
}

void BlockFills::write(const Context& context, const Item& item) {
  if (!breaker_.is_closed() || is_forgotten(item)) return drop(1);
  const Context limited = context.within(options_.fill_timeout);
  bool dropped = false;
  const auto stored = store(limited, item, dropped);
  if (dropped || !context.alive()) return drop(1);
  if (!stored) {
    meter_.fills_failed.fetch_add(1, std::memory_order_relaxed);
    breaker_.fill_failed(Context::Clock::now());
    // A place that is not ours stays a place that is not ours.
    const bool foreign = stored.error().code() == Code::invalid;
    log::write(foreign ? log::Level::warning : log::Level::info,
               fmt::format("fill {}: {}", fast_.describe(), stored.error().text()));
    return;
  }
  breaker_.filled();
  meter_.fills.fetch_add(1, std::memory_order_relaxed);
  meter_.filled_bytes.fetch_add(item.fill.data.size(), std::memory_order_relaxed);
}

// Directories were looked at when they were opened; a bucket is not asked before it must be.
Result<> BlockFills::mark(const Context& context) {
  if (marked_.load()) return {};
  THAW_ASSIGN(const bool is_tier, check_tier(context, fast_));
  if (!is_tier) THAW_CHECK(mark_tier(context, fast_));
  marked_.store(true);
  return {};
}

Result<> BlockFills::store(const Context& context, const Item& item, bool& dropped) {
  THAW_CHECK(mark(context));
  const uint64_t block_bytes = header_bytes_of(item.fill.block) + item.fill.data.size();
  const ObjectKey& name = item.fill.name;
  THAW_ASSIGN(const bool room, room_.make(context, name, block_bytes));
  if (!room) {
    dropped = true;
    return {};
  }
  Result<PutOutcome> put = Error(Code::exhausted, "no memory for a block");
  try {
    Buffer block(encode_tier_block(item.fill.block, item.fill.data.view()));
    put = fast_.put(context, name, std::move(block), PutMode::overwrite);
  } catch (const std::bad_alloc&) {
    log::info("fill a tier: no memory for a block");
  }
  if (!put) {
    room_.give_back(context, name, block_bytes);
    return std::move(put).error();
  }
  // Also where it was admitted before: somebody may have made room with it before it was there.
  notes_.admitted(name, block_bytes);
  if (is_forgotten(item)) {
    THAW_CHECK(fast_.remove(context, std::span(&name, 1)));
    notes_.evicted(name);
    room_.give_back(context, name, block_bytes);
    dropped = true;
  }
  return {};
}

}  // namespace thaw
