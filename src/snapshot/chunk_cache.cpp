#include "snapshot/chunk_cache.h"

#include <memory>
#include <utility>

namespace thaw {

uint64_t ChunkCache::held_bytes() const {
  const std::lock_guard lock(mutex_);
  return held_bytes_;
}

void ChunkCache::link(Resident* resident) {
  held_bytes_ += resident->content.size();
  if (hand_ == nullptr) {
    resident->next = resident->previous = resident;
    hand_ = resident;
    return;
  }
  // Behind the hand: it has a whole turn before it is looked at.
  resident->next = hand_;
  resident->previous = hand_->previous;
  hand_->previous->next = resident;
  hand_->previous = resident;
}

ChunkCache::Resident* ChunkCache::unlink(Resident* resident) {
  held_bytes_ -= resident->content.size();
  if (resident->next == resident) {
    hand_ = nullptr;
    return resident;
  }
  if (hand_ == resident) hand_ = resident->next;
  resident->next->previous = resident->previous;
  resident->previous->next = resident->next;
  return resident;
}

void ChunkCache::make_room(uint64_t bytes, std::vector<Resident*>& dropped) {
  while (hand_ != nullptr && (bytes > limit_bytes_ || held_bytes_ > limit_bytes_ - bytes)) {
    Resident* const resident = hand_;
    if (resident->used.exchange(false, std::memory_order_relaxed)) {
      hand_ = resident->next;
      continue;
    }
    {
      const std::lock_guard lock(resident->shelf->lock_of(resident->chunk));
      resident->shelf->slots_[resident->chunk] = nullptr;
    }
    dropped.push_back(unlink(resident));
  }
}

ChunkCache::Shelf::Shelf(ChunkCache& cache, size_t chunk_count)
    : cache_(cache), slots_(chunk_count, nullptr) {}

ChunkCache::Shelf::~Shelf() {
  std::vector<std::unique_ptr<Resident>> dropped;
  const std::lock_guard lock(cache_.mutex_);
  // Nobody looks anything up any more, and whoever evicts needs the cache's lock.
  for (Resident* resident : slots_) {
    if (resident != nullptr) dropped.emplace_back(cache_.unlink(resident));
  }
}

Buffer ChunkCache::Shelf::find(uint32_t chunk) {
  const std::lock_guard lock(lock_of(chunk));
  Resident* const resident = slots_[chunk];
  if (resident == nullptr) return {};
  // Not written where it is set already: the line stays shared between cores.
  if (!resident->used.load(std::memory_order_relaxed)) {
    resident->used.store(true, std::memory_order_relaxed);
  }
  return resident->content;
}

bool ChunkCache::Shelf::holds(uint32_t chunk) {
  const std::lock_guard lock(lock_of(chunk));
  return slots_[chunk] != nullptr;
}

void ChunkCache::Shelf::keep(uint32_t chunk, Buffer content) {
  auto resident = std::make_unique<Resident>();
  resident->shelf = this;
  resident->chunk = chunk;
  resident->content = std::move(content);
  std::vector<Resident*> dropped;
  {
    const std::lock_guard lock(cache_.mutex_);
    // Only whoever holds the cache's lock fills or clears a slot.
    if (slots_[chunk] != nullptr) return;
    cache_.make_room(resident->content.size(), dropped);
    const std::lock_guard slot_lock(lock_of(chunk));
    slots_[chunk] = resident.get();
    cache_.link(resident.release());
  }
  for (Resident* each : dropped) delete each;
}

}  // namespace thaw
