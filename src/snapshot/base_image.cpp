#include "snapshot/base_image.h"

#include <algorithm>
#include <cstring>
#include <list>
#include <set>
#include <tuple>

#include "base/log.h"
#include "base/task_group.h"
#include "format/frame.h"
#include "format/limits.h"
#include "snapshot/catalog.h"
#include "snapshot/image_kind.h"

namespace thaw {
namespace {

// Decoded chunks that stay: a window's own, and those with the pages of several windows that its
// neighbours need as well.
constexpr size_t kKeptBytes = 16 * 1024 * 1024;
// What is decoded for one window at most: what thaw lays down needs 10 MiB, files cut by
// content 20.
constexpr size_t kWindowChunkBytes = 32 * 1024 * 1024;
// What is fetched ahead of a window: with the window's own it is not more than what stays.
constexpr size_t kAheadBytes = 8 * 1024 * 1024;
// A window has eight pieces, most of them in packs of their own; the next ones share most of them.
constexpr size_t kGetsAtOnce = 16;

bool in_whole_chunks(const Layout& layout, uint32_t content) {
  const auto extents = layout.extents_of(content);
  return std::all_of(extents.begin(), extents.end(), [&](const Extent& extent) {
    return layout.chunks[extent.chunk].kind == ChunkKind::whole;
  });
}

// What is cut by content has a chunk across one of the grid's lines before long.
bool is_on_grid(const Layout& layout, uint32_t content) {
  const auto extents = layout.extents_of(content);
  return std::all_of(extents.begin(), extents.end(), [](const Extent& extent) {
    return extent.file_offset / kWindowBytes ==
           (extent.file_offset + extent.length - 1) / kWindowBytes;
  });
}

}  // namespace

ImageParents::ImageParents(const std::vector<BaseSnapshot>& bases) {
  for (uint32_t base = 0; base < bases.size(); ++base) {
    const Tree& tree = bases[base].manifest().tree;
    const Layout& layout = bases[base].manifest().layout;
    for (uint32_t i = 0; i < tree.nodes.size(); ++i) {
      const uint32_t content = tree.content_of(tree.nodes[i]);
      if (content == kNone || tree.contents[content].size_bytes <= limits::kMemberBytes) continue;
      if (!in_whole_chunks(layout, content)) continue;
      const bool on_grid =
          tree.contents[content].size_bytes >= kImageBytes && is_on_grid(layout, content);
      const ImageParent parent{base, content, on_grid};
      by_path_.try_emplace(tree.path(i), parent);
      by_name_.try_emplace(std::string(tree.name(i)), parent);
    }
  }
}

std::optional<ImageParent> ImageParents::find(const std::string& path) const {
  if (const auto found = by_path_.find(path); found != by_path_.end()) return found->second;
  const auto found = by_name_.find(std::string_view(path).substr(path.rfind('/') + 1));
  if (found == by_name_.end()) return std::nullopt;
  return found->second;
}

struct BaseReader::State {
  struct Kept {
    uint32_t base;
    uint32_t chunk;
    ByteVector content;
  };

  State(ObjectStore& object_store, const std::vector<BaseSnapshot>& snapshots,
        const KnownDamage& known, StoreDistance far_or_near)
      : store(object_store), bases(snapshots), damage(known), distance(far_or_near) {}

  // Chunks that come with one get, in the order of their places.
  using Run = std::span<const uint32_t>;

  const ByteVector* find(uint32_t base, uint32_t chunk) {
    const auto found = std::find_if(kept.begin(), kept.end(), [&](const Kept& each) {
      return each.base == base && each.chunk == chunk;
    });
    if (found == kept.end()) return nullptr;
    kept.splice(kept.begin(), kept, found);
    return &kept.front().content;
  }

  // Those of the window that is being read stay, however many bytes they have.
  void keep(uint32_t base, uint32_t chunk, Bytes content) {
    ByteVector copy(content.size());
    std::memcpy(copy.data(), content.data(), content.size());
    kept_bytes += copy.size();
    kept.push_front({base, chunk, std::move(copy)});
  }
  void drop_old() {
    while (kept_bytes > kKeptBytes) {
      kept_bytes -= kept.back().content.size();
      kept.pop_back();
    }
  }

  Result<> fetch(const Context& context, uint32_t base, std::vector<uint32_t> chunks);
  Result<> fetch_runs(const Context& context, uint32_t base, std::span<const Run> runs);
  Result<Fetched> get_run(const Context& context, uint32_t base, Run run) const;
  Result<> take_run(const Context& context, uint32_t base, Run run, const Result<Fetched>& got);
  std::vector<uint32_t> soon_missing(uint32_t base, std::span<const Extent> next,
                                     const std::set<uint32_t>& now);
  Result<> fetch_anew(const Context& context, uint32_t base, uint32_t chunk);
  Result<> take(uint32_t base, uint32_t chunk, Bytes stored);
  void give_up(uint32_t base, uint32_t chunk, const Error& error);

  ObjectStore& store;
  const std::vector<BaseSnapshot>& bases;
  const KnownDamage& damage;
  const StoreDistance distance;
  FrameDecoder decoder;
  std::list<Kept> kept;  // the last used first
  size_t kept_bytes = 0;
  std::set<std::pair<uint32_t, uint32_t>> lost;  // base, chunk
  bool complained = false;
};

// Frames that lie near one another come with one get.
Result<> BaseReader::State::fetch(const Context& context, uint32_t base,
                                  std::vector<uint32_t> chunks) {
  const auto& places = bases[base].manifest().layout.chunks;
  std::sort(chunks.begin(), chunks.end(), [&](uint32_t a, uint32_t b) {
    return std::tie(places[a].pack, places[a].offset) < std::tie(places[b].pack, places[b].offset);
  });
  std::vector<Run> runs;
  for (size_t first = 0; first < chunks.size();) {
    const ChunkPlace& start = places[chunks[first]];
    uint64_t end = uint64_t{start.offset} + start.stored_bytes;
    size_t next = first + 1;
    for (; next < chunks.size(); ++next) {
      const ChunkPlace& place = places[chunks[next]];
      const uint64_t place_end = uint64_t{place.offset} + place.stored_bytes;
      if (place.pack != start.pack || place.offset > end + kFetchGapBytes ||
          place_end - start.offset > kFetchBytes) {
        break;
      }
      end = std::max(end, place_end);
    }
    runs.push_back(std::span(chunks).subspan(first, next - first));
    first = next;
  }
  return fetch_runs(context, base, runs);
}

// Threads cost more than a directory takes to answer.
Result<> BaseReader::State::fetch_runs(const Context& context, uint32_t base,
                                       std::span<const Run> runs) {
  if (distance == StoreDistance::local) {
    for (const Run run : runs)
      THAW_CHECK(take_run(context, base, run, get_run(context, base, run)));
    return {};
  }
  std::vector<std::optional<Result<Fetched>>> got(runs.size());
  const auto threads = static_cast<unsigned>(std::min(runs.size(), kGetsAtOnce));
  THAW_CHECK(parallel_for(context, threads, runs.size(),
                          [&](const Context& inner, unsigned, size_t i) -> Result<> {
                            got[i].emplace(get_run(inner, base, runs[i]));
                            return {};
                          }));
  for (size_t i = 0; i < runs.size(); ++i) {
    THAW_CHECK(take_run(context, base, runs[i], *got[i]));
    got[i].reset();
  }
  return {};
}

Result<Fetched> BaseReader::State::get_run(const Context& context, uint32_t base, Run run) const {
  const Layout& layout = bases[base].manifest().layout;
  const ChunkPlace& first = layout.chunks[run.front()];
  uint64_t end = 0;
  for (const uint32_t chunk : run) {
    end = std::max(end, uint64_t{layout.chunks[chunk].offset} + layout.chunks[chunk].stored_bytes);
  }
  return store.get(context, pack_object(layout.packs[first.pack].id),
                   ByteRange::of(first.offset, end - first.offset), Freshness::any);
}

Result<> BaseReader::State::take_run(const Context& context, uint32_t base, Run run,
                                     const Result<Fetched>& got) {
  THAW_CHECK(context.alive());
  const Layout& layout = bases[base].manifest().layout;
  const ChunkPlace& first = layout.chunks[run.front()];
  for (const uint32_t chunk : run) {
    const ChunkPlace& place = layout.chunks[chunk];
    const uint64_t at = place.offset - first.offset;
    const bool there = got && got->bytes.size() >= at + place.stored_bytes;
    if (there && take(base, chunk, got->bytes.view().subspan(at, place.stored_bytes))) continue;
    auto again = fetch_anew(context, base, chunk);
    THAW_CHECK(context.alive());
    if (!again) give_up(base, chunk, again.error());
  }
  return {};
}

// Past all tiers: what came may have been damaged on its way.
Result<> BaseReader::State::fetch_anew(const Context& context, uint32_t base, uint32_t chunk) {
  const Layout& layout = bases[base].manifest().layout;
  const ChunkPlace& place = layout.chunks[chunk];
  const ObjectKey object = pack_object(layout.packs[place.pack].id);
  auto got = store.get(context, object, ByteRange::of(place.offset, place.stored_bytes),
                       Freshness::origin);
  if (!got && got.error().code() == Code::not_found) return Error(Code::corrupt, "is missing");
  if (!got) return std::move(got).error();
  return take(base, chunk, got->bytes.view());
}

Result<> BaseReader::State::take(uint32_t base, uint32_t chunk, Bytes stored) {
  const ChunkPlace& place = bases[base].manifest().layout.chunks[chunk];
  if (stored.size() != place.stored_bytes) return Error(Code::corrupt, "is cut off");
  THAW_ASSIGN(const Bytes content, decoder.decode(place.codec, stored, place.content_bytes));
  if (content_digest(content) != place.digest) {
    return Error(Code::corrupt, "a chunk does not match its digest");
  }
  keep(base, chunk, content);
  return {};
}

void BaseReader::State::give_up(uint32_t base, uint32_t chunk, const Error& error) {
  const Layout& layout = bases[base].manifest().layout;
  const RandomId& pack = layout.packs[layout.chunks[chunk].pack].id;
  lost.emplace(base, chunk);
  if (error.code() == Code::corrupt) damage.remember(pack);
  if (std::exchange(complained, true)) return;
  log::warn("a base cannot be read, so what it holds of an image is stored anew: object {}: {}",
            pack_object(pack).text(), error.text());
}

// Of what is read next, as much as stays in memory beside a window.
std::vector<uint32_t> BaseReader::State::soon_missing(uint32_t base, std::span<const Extent> next,
                                                      const std::set<uint32_t>& now) {
  const auto& places = bases[base].manifest().layout.chunks;
  std::set<uint32_t> seen = now;
  std::vector<uint32_t> missing;
  uint64_t bytes = 0;
  for (const Extent& extent : next) {
    if (!seen.insert(extent.chunk).second || lost.contains({base, extent.chunk})) continue;
    bytes += places[extent.chunk].content_bytes;
    if (bytes > kAheadBytes) break;
    if (find(base, extent.chunk) == nullptr) missing.push_back(extent.chunk);
  }
  return missing;
}

BaseReader::BaseReader(ObjectStore& store, const std::vector<BaseSnapshot>& bases,
                       const KnownDamage& damage, StoreDistance distance)
    : state_(std::make_unique<State>(store, bases, damage, distance)) {}
BaseReader::~BaseReader() = default;

Result<std::vector<uint32_t>> BaseReader::read(const Context& context, uint32_t base,
                                               const std::vector<Extent>& extents,
                                               uint64_t window_offset, MutableBytes into,
                                               std::span<const Extent> next) {
  std::set<uint32_t> needed;
  for (const Extent& extent : extents) needed.insert(extent.chunk);
  const auto& places = state_->bases[base].manifest().layout.chunks;
  std::vector<uint32_t> missing;
  uint64_t bytes = 0;
  for (const uint32_t chunk : needed) {
    bytes += places[chunk].content_bytes;
    if (bytes > kWindowChunkBytes) break;
    if (state_->find(base, chunk) == nullptr && !state_->lost.contains({base, chunk}))
      missing.push_back(chunk);
  }
  // Only where a round trip is due anyway.
  if (!missing.empty() && state_->distance == StoreDistance::remote) {
    const auto soon = state_->soon_missing(base, next, needed);
    missing.insert(missing.end(), soon.begin(), soon.end());
  }
  THAW_CHECK(state_->fetch(context, base, std::move(missing)));
  std::memset(into.data(), 0, into.size());
  std::vector<uint32_t> lost;
  for (const uint32_t chunk : needed) {
    const ByteVector* content = state_->find(base, chunk);
    if (content == nullptr) {
      lost.push_back(chunk);
      continue;
    }
    for (const Extent& extent : extents) {
      if (extent.chunk != chunk) continue;
      std::memcpy(into.data() + (extent.file_offset - window_offset),
                  content->data() + extent.chunk_offset, extent.length);
    }
  }
  state_->drop_old();
  return lost;
}

}  // namespace thaw
