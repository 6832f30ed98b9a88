#include "snapshot/layout_builder.h"

#include <algorithm>
#include <map>
#include <utility>

namespace thaw {

BaseSnapshot::BaseSnapshot(Manifest manifest) : manifest_(std::move(manifest)) {
  const auto& contents = manifest_.tree.contents;
  contents_.reserve(contents.size());
  for (uint32_t i = 0; i < contents.size(); ++i) contents_.emplace(contents[i].digest, i);
  for (uint32_t i = 0; i < manifest_.layout.chunks.size(); ++i) {
    const ChunkPlace& chunk = manifest_.layout.chunks[i];
    if (chunk.kind == ChunkKind::whole) chunks_.emplace(chunk.digest, i);
  }
}

std::optional<uint32_t> BaseSnapshot::find_content(const Content& content) const {
  const auto found = contents_.find(content.digest);
  if (found == contents_.end() || manifest_.tree.contents[found->second] != content)
    return std::nullopt;
  return found->second;
}

std::optional<uint32_t> BaseSnapshot::find_chunk(const Digest& digest) const {
  const auto found = chunks_.find(digest);
  if (found == chunks_.end()) return std::nullopt;
  return found->second;
}

LayoutBuilder::LayoutBuilder(const std::vector<BaseSnapshot>& bases) : bases_(bases) {
  for (const BaseSnapshot& base : bases) {
    given_up_.emplace_back(base.manifest().layout.chunks.size(), uint8_t{0});
  }
}

std::optional<LayoutBuilder::Source> LayoutBuilder::find_in_bases(const Content& content) const {
  for (uint32_t base = 0; base < bases_.size(); ++base) {
    const auto number = bases_[base].find_content(content);
    if (!number) continue;
    const auto extents = bases_[base].manifest().layout.extents_of(*number);
    if (std::none_of(extents.begin(), extents.end(),
                     [&](const Extent& extent) { return given_up(base, extent.chunk); })) {
      return Source{base, *number};
    }
  }
  return std::nullopt;
}

bool LayoutBuilder::base_has(const Content& content) const {
  const std::lock_guard lock(mutex_);
  return content.size_bytes == 0 || find_in_bases(content).has_value();
}

LayoutBuilder::ContentClaim LayoutBuilder::claim_content(const Content& content) {
  const std::lock_guard lock(mutex_);
  std::vector<uint32_t>& numbers = content_numbers_[content.digest];
  for (const uint32_t number : numbers) {
    if (tree_contents_[number] == content)
      return {number, std::exchange(contents_[number].given_up, false)};
  }
  const auto number = static_cast<uint32_t>(tree_contents_.size());
  numbers.push_back(number);
  tree_contents_.push_back(content);
  contents_.emplace_back();
  if (content.size_bytes == 0) return {number, false};
  if (const auto source = find_in_bases(content)) {
    contents_.back().source = *source;
    return {number, false};
  }
  return {number, true};
}

void LayoutBuilder::place_in_bundle(uint32_t content, uint32_t chunk, uint32_t chunk_offset) {
  const std::lock_guard lock(mutex_);
  const auto length = static_cast<uint32_t>(tree_contents_[content].size_bytes);
  contents_[content].extents = {{0, chunk, chunk_offset, length}};
}

void LayoutBuilder::place_extents(uint32_t content, std::vector<Extent> extents) {
  const std::lock_guard lock(mutex_);
  contents_[content].extents = std::move(extents);
}

LayoutBuilder::ChunkClaim LayoutBuilder::claim_whole_chunk(const Digest& digest) {
  const std::lock_guard lock(mutex_);
  const auto number = static_cast<uint32_t>(chunks_.size());
  const auto [found, fresh] = chunk_numbers_.try_emplace(digest, number);
  if (!fresh) return {found->second, false};
  chunks_.emplace_back();
  for (uint32_t base = 0; base < bases_.size(); ++base) {
    const auto there = bases_[base].find_chunk(digest);
    if (!there || given_up(base, *there)) continue;
    chunks_.back().source = {base, *there};
    return {number, false};
  }
  return {number, true};
}

std::optional<uint32_t> LayoutBuilder::claim_base_chunk(uint32_t base, uint32_t chunk) {
  const std::lock_guard lock(mutex_);
  if (given_up(base, chunk)) return std::nullopt;
  const Digest& digest = bases_[base].manifest().layout.chunks[chunk].digest;
  const auto number = static_cast<uint32_t>(chunks_.size());
  const auto [found, fresh] = chunk_numbers_.try_emplace(digest, number);
  if (!fresh) return found->second;
  chunks_.emplace_back();
  chunks_.back().source = {base, chunk};
  return number;
}

bool LayoutBuilder::base_gives(uint32_t base, uint32_t chunk) const {
  const std::lock_guard lock(mutex_);
  return !given_up(base, chunk);
}

uint32_t LayoutBuilder::add_bundle() {
  const std::lock_guard lock(mutex_);
  chunks_.emplace_back();
  return static_cast<uint32_t>(chunks_.size() - 1);
}

void LayoutBuilder::place_chunk(uint32_t chunk, const ChunkPlace& place) {
  const std::lock_guard lock(mutex_);
  chunks_[chunk].place = place;
}

void LayoutBuilder::count_live(std::vector<std::vector<uint64_t>>& live) const {
  live.clear();
  for (const BaseSnapshot& base : bases_)
    live.emplace_back(base.manifest().layout.chunks.size(), 0);
  for (const ContentState& content : contents_) {
    if (content.source.base != kNone) {
      const Layout& layout = bases_[content.source.base].manifest().layout;
      for (const Extent& extent : layout.extents_of(content.source.number)) {
        live[content.source.base][extent.chunk] += extent.length;
      }
    }
    for (const Extent& extent : content.extents) {
      const Source& source = chunks_[extent.chunk].source;
      if (source.base != kNone) live[source.base][source.number] += extent.length;
    }
  }
}

void LayoutBuilder::give_up_dead_bundles(double min_alive) {
  std::vector<std::vector<uint64_t>> live;
  count_live(live);
  for (uint32_t base = 0; base < bases_.size(); ++base) {
    const auto& chunks = bases_[base].manifest().layout.chunks;
    for (uint32_t i = 0; i < chunks.size(); ++i) {
      if (chunks[i].kind != ChunkKind::bundle) continue;
      const auto bound = static_cast<uint64_t>(min_alive * chunks[i].content_bytes);
      if (live[base][i] != 0 && live[base][i] < bound) given_up_[base][i] = 1;
    }
  }
}

void LayoutBuilder::give_up_scattered_packs(const FragmentationBudget& budget) {
  std::vector<std::vector<uint64_t>> live;
  count_live(live);
  struct PackUse {
    std::vector<FrameSpan> frames;
    std::vector<std::pair<uint32_t, uint32_t>> chunks;  // base, chunk
    uint64_t stored_bytes = 0;
    uint64_t ranges = 0;
  };
  std::map<RandomId, PackUse> packs;
  for (uint32_t base = 0; base < bases_.size(); ++base) {
    const Layout& layout = bases_[base].manifest().layout;
    for (uint32_t i = 0; i < layout.chunks.size(); ++i) {
      if (live[base][i] == 0 || given_up(base, i)) continue;
      const ChunkPlace& chunk = layout.chunks[i];
      PackUse& use = packs[layout.packs[chunk.pack].id];
      use.frames.push_back({chunk.offset, chunk.stored_bytes});
      use.chunks.emplace_back(base, i);
      use.stored_bytes += chunk.stored_bytes;
    }
  }
  uint64_t stored = 0;
  uint64_t ranges = 0;
  std::vector<PackUse*> by_use;
  for (auto& [id, use] : packs) {
    std::sort(use.frames.begin(), use.frames.end(),
              [](const FrameSpan& a, const FrameSpan& b) { return a.offset < b.offset; });
    use.ranges = count_ranges(use.frames);
    stored += use.stored_bytes;
    ranges += use.ranges;
    by_use.push_back(&use);
  }
  const uint64_t bound =
      budget.free_ranges + budget.ranges_per_8_mib * ((stored + kFetchBytes - 1) / kFetchBytes);
  if (ranges <= bound) return;
  // The packs that give least for each request go first, down to half the bound: rewriting a little
  // more now is what keeps this from being due again at the next save.
  std::sort(by_use.begin(), by_use.end(), [](const PackUse* a, const PackUse* b) {
    return a->stored_bytes * b->ranges < b->stored_bytes * a->ranges;
  });
  for (const PackUse* use : by_use) {
    if (ranges <= bound / 2) break;
    ranges -= use->ranges;
    for (const auto& [base, chunk] : use->chunks) given_up_[base][chunk] = 1;
  }
}

std::vector<uint32_t> LayoutBuilder::take_back_contents() {
  std::vector<uint32_t> again;
  for (uint32_t i = 0; i < contents_.size(); ++i) {
    ContentState& content = contents_[i];
    bool affected = false;
    if (content.source.base != kNone) {
      const Layout& layout = bases_[content.source.base].manifest().layout;
      for (const Extent& extent : layout.extents_of(content.source.number)) {
        affected = affected || given_up(content.source.base, extent.chunk);
      }
    }
    for (const Extent& extent : content.extents) {
      const Source& source = chunks_[extent.chunk].source;
      affected = affected || (source.base != kNone && given_up(source.base, source.number));
    }
    if (!affected) continue;
    content.source = {};
    content.extents.clear();
    content.given_up = true;
    again.push_back(i);
  }
  // A chunk that a base no longer gives is to be claimed anew.
  for (auto number = chunk_numbers_.begin(); number != chunk_numbers_.end();) {
    const Source& source = chunks_[number->second].source;
    const bool gone = source.base != kNone && given_up(source.base, source.number);
    number = gone ? chunk_numbers_.erase(number) : std::next(number);
  }
  return again;
}

std::vector<uint32_t> LayoutBuilder::give_up(const FragmentationBudget& budget) {
  const std::lock_guard lock(mutex_);
  give_up_dead_bundles(budget.min_alive);
  give_up_scattered_packs(budget);
  return take_back_contents();
}

namespace {

// Numbers packs and chunks of the finished layout by first use.
class Placer {
 public:
  Placer(const std::vector<BaseSnapshot>& bases, const std::vector<PackRef>& new_packs,
         Layout& layout)
      : bases_(bases), new_packs_(new_packs), layout_(layout) {
    for (const BaseSnapshot& base : bases) {
      base_chunks_.emplace_back(base.manifest().layout.chunks.size(), kNone);
    }
  }
  uint32_t base_chunk(uint32_t base, uint32_t chunk) {
    uint32_t& number = base_chunks_[base][chunk];
    if (number == kNone) {
      const Layout& from = bases_[base].manifest().layout;
      ChunkPlace place = from.chunks[chunk];
      place.pack = pack(from.packs[place.pack]);
      number = append(place);
    }
    return number;
  }
  uint32_t new_chunk(ChunkPlace place) {
    place.pack = pack(new_packs_[place.pack]);
    return append(place);
  }

 private:
  uint32_t append(const ChunkPlace& place) {
    layout_.chunks.push_back(place);
    return static_cast<uint32_t>(layout_.chunks.size() - 1);
  }
  uint32_t pack(const PackRef& ref) {
    const auto [found, fresh] =
        packs_.try_emplace(ref.id, static_cast<uint32_t>(layout_.packs.size()));
    if (fresh) layout_.packs.push_back(ref);
    return found->second;
  }
  const std::vector<BaseSnapshot>& bases_;
  const std::vector<PackRef>& new_packs_;
  Layout& layout_;
  std::vector<std::vector<uint32_t>> base_chunks_;
  std::map<RandomId, uint32_t> packs_;
};

}  // namespace

Layout LayoutBuilder::finish(const std::vector<PackRef>& new_packs) {
  const std::lock_guard lock(mutex_);
  Layout layout;
  Placer placer(bases_, new_packs, layout);
  std::vector<uint32_t> numbers(chunks_.size(), kNone);
  for (const ContentState& content : contents_) {
    ExtentRun run{static_cast<uint32_t>(layout.extents.size()), 0};
    if (content.source.base != kNone) {
      const Layout& from = bases_[content.source.base].manifest().layout;
      for (Extent extent : from.extents_of(content.source.number)) {
        extent.chunk = placer.base_chunk(content.source.base, extent.chunk);
        layout.extents.push_back(extent);
      }
    }
    for (Extent extent : content.extents) {
      const ChunkState& chunk = chunks_[extent.chunk];
      uint32_t& number = numbers[extent.chunk];
      if (chunk.source.base != kNone) {
        number = placer.base_chunk(chunk.source.base, chunk.source.number);
      } else if (number == kNone) {
        number = placer.new_chunk(chunk.place);
      }
      extent.chunk = number;
      layout.extents.push_back(extent);
    }
    run.count = static_cast<uint32_t>(layout.extents.size()) - run.first;
    layout.contents.push_back(run);
  }
  return layout;
}

uint64_t count_ranges(const std::vector<FrameSpan>& frames) {
  uint64_t ranges = 0;
  uint64_t start = 0;
  uint64_t end = 0;
  for (const FrameSpan& frame : frames) {
    const uint64_t frame_end = frame.offset + frame.stored_bytes;
    if (ranges == 0 || frame.offset > end + kFetchGapBytes || frame_end - start > kFetchBytes) {
      ++ranges;
      start = frame.offset;
    }
    end = std::max(end, frame_end);
  }
  return ranges;
}

}  // namespace thaw
