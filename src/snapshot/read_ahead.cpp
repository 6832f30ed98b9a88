#include "snapshot/read_ahead.h"

#include <algorithm>

namespace thaw {

ReadAhead::ReadAhead(uint64_t most_bytes) : most_bytes_(std::min(most_bytes, kMostBytes)) {}

ReadAhead::Range ReadAhead::note(uint32_t content, uint64_t offset, uint64_t length,
                                 uint64_t size_bytes) {
  if (most_bytes_ == 0) return {};
  Track& track = tracks_[content % kTracks];
  const std::unique_lock lock(track.mutex, std::try_to_lock);
  if (!lock.owns_lock()) return {};
  const bool follows = track.content == content && track.next == offset;
  track.next = offset + length;
  if (follows) return follow(track, size_bytes);
  track.content = content;
  if (track.window != 0) {
    track.window = 0;
    track.run.fetch_add(1, std::memory_order_relaxed);
  }
  return {};
}

ReadAhead::Range ReadAhead::follow(Track& track, uint64_t size_bytes) const {
  if (track.window == 0) {
    track.window = std::min(kFirstBytes, most_bytes_);
    track.asked_to = track.next;
  } else if (track.asked_to >= size_bytes || track.asked_to > track.next + track.window / 2) {
    return {};
  } else {
    track.window = std::min(track.window * 2, most_bytes_);
  }
  const uint64_t begin = std::max(track.asked_to, track.next);
  const uint64_t end = std::min(track.next + track.window, size_bytes);
  if (begin >= end) return {};
  track.asked_to = end;
  return {begin, end - begin, track.run.load(std::memory_order_relaxed)};
}

bool ReadAhead::is_wanted(uint32_t content, const Range& range) const {
  return tracks_[content % kTracks].run.load(std::memory_order_relaxed) == range.run;
}

}  // namespace thaw
