// Which bytes of which packs a set of contents needs, in which order, and what is made of them.
// Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "format/manifest.h"
#include "snapshot/transfer.h"

namespace thaw {

// One part of a chunk and whose it is.
struct ChunkUse {
  uint32_t content;
  Extent extent;
};

struct FetchRange {
  uint32_t pack;
  uint64_t offset;
  uint64_t length;
  uint32_t first_frame;  // into the frames that were joined
  uint32_t frame_count;
};

// Whether what is joined is one read, or the beginning of a long way: there the first requests are
// short, so that threads that decode have something to do after a round trip, and not after eight
// MiB at the speed of one connection.
enum class Joining { one_read, long_way };
inline Joining joining_for(StoreDistance distance) {
  return distance == StoreDistance::remote ? Joining::long_way : Joining::one_read;
}

// Joins frames into what one request fetches: neighbours in a pack, over small gaps. Precondition:
// the chunk numbers stand in order of pack and offset.
std::vector<FetchRange> join_frames(const Layout& layout, std::span<const uint32_t> frames,
                                    Joining joining);
// Brings chunk numbers into that order.
void sort_by_place(const Layout& layout, std::span<uint32_t> chunks);

class FetchPlan {
 public:
  // Plans for the contents whose number has a non-zero mark. The manifest outlives the plan.
  FetchPlan(const Manifest& manifest, const std::vector<uint8_t>& wanted,
            Joining joining = Joining::one_read);

  std::span<const FetchRange> ranges() const { return ranges_; }
  // Chunk numbers, by pack and offset.
  std::span<const uint32_t> frames(const FetchRange& range) const {
    return std::span(frames_).subspan(range.first_frame, range.frame_count);
  }
  std::span<const ChunkUse> uses(uint32_t chunk) const {
    return std::span(uses_).subspan(use_begin_[chunk], use_begin_[chunk + 1] - use_begin_[chunk]);
  }
  uint64_t fetched_bytes() const { return fetched_bytes_; }

 private:
  std::vector<uint32_t> frames_;
  std::vector<FetchRange> ranges_;
  std::vector<uint32_t> use_begin_;  // per chunk, and one more
  std::vector<ChunkUse> uses_;
  uint64_t fetched_bytes_ = 0;
};

}  // namespace thaw
