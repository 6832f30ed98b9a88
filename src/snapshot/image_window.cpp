#include "snapshot/image_window.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace thaw {
namespace {

enum class Page : uint8_t {
  same,   // as in the base, where it lies
  fresh,  // to be laid down
  zero,   // to be left out
};

// The state of a window's pages, while what is kept of the base becomes less.
class PageMap {
 public:
  PageMap(Bytes content, uint64_t window_offset, const BaseWindow& base)
      : content_(content), window_offset_(window_offset), base_(base) {
    pages_.resize((content.size() + kPageBytes - 1) / kPageBytes);
    zero_.resize(pages_.size());
    std::vector<uint8_t> laid(pages_.size(), 0);  // pages of which the base has something
    for (const Extent& extent : base_.extents) {
      for (size_t i = first_page(extent); i <= last_page(extent); ++i) laid[i] = 1;
    }
    for (size_t i = 0; i < pages_.size(); ++i) {
      const Bytes ours = page(content_, i);
      zero_[i] = all_zero(ours) ? 1 : 0;
      const bool same =
          laid[i] != 0 && std::memcmp(ours.data(), page(base_.content, i).data(), ours.size()) == 0;
      pages_[i] = same ? Page::same : changed(i);
    }
    for (const Extent& extent : base_.extents) {
      if (std::find(base_.lost.begin(), base_.lost.end(), extent.chunk) != base_.lost.end())
        give_up(extent);
    }
    leave_out_long_zeros();
  }

  // Lays down the pages of the chunks that give least, until the rest is within the budget.
  void keep_within_budget() {
    for (;;) {
      std::map<uint32_t, uint64_t> bytes_of;
      for (const Extent& extent : kept()) bytes_of[extent.chunk] += extent.length;
      const size_t pieces = bytes_of.size() + (has_fresh() ? 1 : 0);
      if (pieces <= kWindowPieces) return;
      const auto least =
          std::min_element(bytes_of.begin(), bytes_of.end(), [this](const auto& a, const auto& b) {
            return cost_of_losing(a.first, a.second) < cost_of_losing(b.first, b.second);
          });
      for (const Extent& extent : base_.extents) {
        if (extent.chunk == least->first) give_up(extent);
      }
    }
  }

  std::vector<Extent> kept() const {
    std::vector<Extent> kept;
    for (const Extent& extent : base_.extents) {
      const uint64_t begin = extent.file_offset - window_offset_;
      const uint64_t end = begin + extent.length;
      for (uint64_t at = begin; at < end;) {
        const size_t number = at / kPageBytes;
        const uint64_t stop = std::min<uint64_t>(end, (number + 1) * kPageBytes);
        if (pages_[number] == Page::same) append(kept, extent, at - begin, stop - at);
        at = stop;
      }
    }
    return kept;
  }

  std::vector<WindowRun> fresh() const {
    std::vector<WindowRun> runs;
    bool only_zeros_since = false;  // since the last run: then a short gap is laid down with it
    for (size_t i = 0; i < pages_.size(); ++i) {
      if (pages_[i] == Page::same) only_zeros_since = false;
      if (pages_[i] != Page::fresh) continue;
      const auto begin = static_cast<uint32_t>(i * kPageBytes);
      const auto end = static_cast<uint32_t>(std::min((i + 1) * kPageBytes, content_.size()));
      const bool joins = only_zeros_since && begin - runs.back().end < kChildZeroRunBytes;
      if (joins) {
        runs.back().end = end;
      } else {
        runs.push_back({begin, end});
      }
      only_zeros_since = true;
    }
    return runs;
  }

 private:
  // What it would cost to lay the window's part down anew, and what to give up a chunk that is of
  // use elsewhere. The weight of 60 pages: a chain of 20 children with 1% of the pages changed at
  // random costs 1% more new bytes than with 20, and a full read of the last decodes 2% less; 100
  // costs as much again, and gains nothing.
  double cost_of_losing(uint32_t chunk, uint64_t bytes_here) const {
    double share = 1;
    if (base_.alive != nullptr) {
      const auto use = base_.alive->find(chunk);
      if (use != base_.alive->end() && use->second.content != 0) {
        share = std::min(
            1.0, static_cast<double>(use->second.alive) / static_cast<double>(use->second.content));
      }
    }
    return static_cast<double>(bytes_here) + share * 60 * kPageBytes;
  }

  static Bytes page(Bytes bytes, size_t number) {
    const size_t at = number * kPageBytes;
    return bytes.subspan(at, std::min(kPageBytes, bytes.size() - at));
  }
  size_t first_page(const Extent& extent) const {
    return (extent.file_offset - window_offset_) / kPageBytes;
  }
  size_t last_page(const Extent& extent) const {
    return (extent.file_offset + extent.length - 1 - window_offset_) / kPageBytes;
  }
  Page changed(size_t number) const { return zero_[number] != 0 ? Page::zero : Page::fresh; }
  bool has_fresh() const {
    return std::find(pages_.begin(), pages_.end(), Page::fresh) != pages_.end();
  }

  // Its pages no longer come from the base.
  void give_up(const Extent& extent) {
    for (size_t i = first_page(extent); i <= last_page(extent); ++i) pages_[i] = changed(i);
  }

  // A base that was cut by content has them as data.
  void leave_out_long_zeros() {
    for (size_t i = 0; i < zero_.size();) {
      size_t end = i;
      while (end < zero_.size() && zero_[end] != 0) ++end;
      if ((end - i) * kPageBytes >= kZeroRunBytes)
        std::fill(pages_.begin() + static_cast<ptrdiff_t>(i),
                  pages_.begin() + static_cast<ptrdiff_t>(end), Page::zero);
      i = std::max(end, i + 1);
    }
  }

  static void append(std::vector<Extent>& kept, const Extent& of, uint64_t skip, uint64_t length) {
    const auto offset = static_cast<uint32_t>(of.chunk_offset + skip);
    const uint64_t file_offset = of.file_offset + skip;
    if (!kept.empty() && kept.back().chunk == of.chunk &&
        kept.back().file_offset + kept.back().length == file_offset &&
        kept.back().chunk_offset + kept.back().length == offset) {
      kept.back().length += static_cast<uint32_t>(length);
    } else {
      kept.push_back({file_offset, of.chunk, offset, static_cast<uint32_t>(length)});
    }
  }

  const Bytes content_;
  const uint64_t window_offset_;
  const BaseWindow& base_;
  std::vector<Page> pages_;
  std::vector<uint8_t> zero_;  // per page
};

}  // namespace

bool all_zero(Bytes bytes) {
  // memcmp of a run with itself shifted by one: as fast as memory.
  return bytes.empty() ||
         (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

std::vector<WindowRun> data_runs(Bytes window) {
  std::vector<WindowRun> runs;
  for (size_t at = 0; at < window.size(); at += kPageBytes) {
    const size_t end = std::min(at + kPageBytes, window.size());
    if (all_zero(window.subspan(at, end - at))) continue;
    if (!runs.empty() && at - runs.back().end < kZeroRunBytes) {
      runs.back().end = static_cast<uint32_t>(end);
    } else {
      runs.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(end)});
    }
  }
  return runs;
}

AliveBytes alive_bytes(const Layout& layout, uint32_t content) {
  AliveBytes uses;
  for (const Extent& extent : layout.extents_of(content)) {
    ChunkUseBytes& use = uses[extent.chunk];
    use.alive += extent.length;
    use.content = layout.chunks[extent.chunk].content_bytes;
  }
  return uses;
}

std::vector<Extent> clipped_extents(std::span<const Extent> extents, uint64_t offset,
                                    uint64_t length) {
  const uint64_t end = offset + length;
  std::vector<Extent> within;
  auto at = std::partition_point(extents.begin(), extents.end(), [&](const Extent& extent) {
    return extent.file_offset + extent.length <= offset;
  });
  for (; at != extents.end() && at->file_offset < end; ++at) {
    const uint64_t from = std::max(at->file_offset, offset);
    const uint64_t to = std::min(at->file_offset + at->length, end);
    within.push_back({from, at->chunk,
                      static_cast<uint32_t>(at->chunk_offset + (from - at->file_offset)),
                      static_cast<uint32_t>(to - from)});
  }
  return within;
}

bool is_one_chunk_of(std::span<const Extent> extents, uint64_t window_offset,
                     std::span<const WindowRun> runs, uint32_t chunk_bytes) {
  if (extents.size() != runs.size()) return false;
  uint32_t offset = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    const Extent& extent = extents[i];
    if (extent.chunk != extents[0].chunk || extent.chunk_offset != offset ||
        extent.file_offset != window_offset + runs[i].begin ||
        extent.length != runs[i].end - runs[i].begin) {
      return false;
    }
    offset += extent.length;
  }
  return offset == chunk_bytes;
}

WindowPlan plan_window(Bytes content, uint64_t window_offset, const BaseWindow& base) {
  PageMap pages(content, window_offset, base);
  pages.keep_within_budget();
  return {pages.kept(), pages.fresh()};
}

}  // namespace thaw
