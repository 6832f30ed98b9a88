#include "snapshot/fetch_plan.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "snapshot/layout_builder.h"

namespace thaw {

void sort_by_place(const Layout& layout, std::span<uint32_t> chunks) {
  std::sort(chunks.begin(), chunks.end(), [&](uint32_t a, uint32_t b) {
    const ChunkPlace& left = layout.chunks[a];
    const ChunkPlace& right = layout.chunks[b];
    return std::tie(left.pack, left.offset) < std::tie(right.pack, right.offset);
  });
}

namespace {

// The longest of the requests that come after so many: an eighth, a quarter, half, all.
uint64_t longest_after(size_t requests) {
  constexpr size_t kAtOnce = 16;  // as TransferLimits::first_fetches across a network
  return kFetchBytes >> (3 - std::min<size_t>(requests / kAtOnce, 3));
}

}  // namespace

std::vector<FetchRange> join_frames(const Layout& layout, std::span<const uint32_t> frames,
                                    Joining joining) {
  std::vector<FetchRange> ranges;
  for (uint32_t i = 0; i < frames.size(); ++i) {
    const ChunkPlace& chunk = layout.chunks[frames[i]];
    const uint64_t end = uint64_t{chunk.offset} + chunk.stored_bytes;
    FetchRange* last = ranges.empty() ? nullptr : &ranges.back();
    const uint64_t longest = joining == Joining::long_way
                                 ? longest_after(std::max<size_t>(ranges.size(), 1) - 1)
                                 : kFetchBytes;
    const bool joins = last != nullptr && last->pack == chunk.pack &&
                       chunk.offset <= last->offset + last->length + kFetchGapBytes &&
                       end <= last->offset + std::max(longest, last->length);
    if (!joins) {
      ranges.push_back({chunk.pack, chunk.offset, chunk.stored_bytes, i, 1});
      continue;
    }
    last->length = std::max(last->length, end - last->offset);
    ++last->frame_count;
  }
  return ranges;
}

FetchPlan::FetchPlan(const Manifest& manifest, const std::vector<uint8_t>& wanted,
                     Joining joining) {
  const Layout& layout = manifest.layout;
  // A counting sort of the extents by chunk.
  use_begin_.assign(layout.chunks.size() + 1, 0);
  for (uint32_t content = 0; content < layout.contents.size(); ++content) {
    if (wanted[content] == 0) continue;
    for (const Extent& extent : layout.extents_of(content)) ++use_begin_[extent.chunk + 1];
  }
  for (uint32_t chunk = 0; chunk < layout.chunks.size(); ++chunk) {
    if (use_begin_[chunk + 1] != 0) frames_.push_back(chunk);
  }
  std::partial_sum(use_begin_.begin(), use_begin_.end(), use_begin_.begin());
  uses_.resize(use_begin_.back());
  std::vector<uint32_t> next(use_begin_.begin(), use_begin_.end() - 1);
  for (uint32_t content = 0; content < layout.contents.size(); ++content) {
    if (wanted[content] == 0) continue;
    for (const Extent& extent : layout.extents_of(content)) {
      uses_[next[extent.chunk]++] = {content, extent};
    }
  }

  sort_by_place(layout, frames_);
  ranges_ = join_frames(layout, frames_, joining);
  for (const FetchRange& range : ranges_) fetched_bytes_ += range.length;
}

}  // namespace thaw
