// Images: windows on a fixed grid, compared with what a base has of them (docs/decisions/0008).
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "format/limits.h"
#include "snapshot/image_kind.h"
#include "snapshot/image_window.h"
#include "snapshot/ingest_worker.h"

namespace thaw {
namespace {

static_assert(kSegmentBytes % kWindowBytes == 0 && kWindowBytes % limits::kLeafBytes == 0);
static_assert(kWindowBytes <= limits::kSpanBytes, "a window's chunk is one span");

// Changed pages of neighbouring windows are laid down together from this on …
constexpr size_t kPagesBytes = 1024 * 1024;
// … and never more than this, unless they are one window's.
constexpr size_t kMostPagesBytes = 2 * 1024 * 1024;

// Whose pieces come with those of a window that is read, from a store far away.
constexpr uint64_t kWindowsAhead = 3;

// Leaves that are all zeros are common, and looking for that is ten times faster than hashing.
void digest_leaves(Bytes window, std::span<Digest> digests) {
  std::vector<Bytes> parts;
  std::vector<size_t> numbers;
  for (size_t i = 0; i < digests.size(); ++i) {
    const size_t at = i * limits::kLeafBytes;
    const Bytes leaf = window.subspan(at, std::min(limits::kLeafBytes, window.size() - at));
    if (leaf.size() == limits::kLeafBytes && all_zero(leaf)) {
      digests[i] = zero_leaf_digest();
    } else {
      parts.push_back(leaf);
      numbers.push_back(i);
    }
  }
  std::vector<Digest> hashed(parts.size());
  sha256_each(parts, hashed);
  for (size_t i = 0; i < numbers.size(); ++i) digests[numbers[i]] = hashed[i];
}

}  // namespace

Result<> IngestWorker::choose_cut(LargeFile& file) {
  const FileStat& stat = file.open->stat;
  const Tree& tree = ingest_.scan_.tree;
  const auto parent = ingest_.parents_.find(tree.path(file.node));
  file.parent.reset();
  file.image = has_holes(stat) || ingest_.is_named_image(file.node);
  if (!file.image && stat.size_bytes >= kImageBytes) {
    file.image = has_image_name(tree.name(file.node)) || (parent && parent->on_grid);
  }
  if (!file.image && stat.size_bytes >= kImageBytes) {
    ByteVector head(kImageHeadBytes);
    THAW_ASSIGN(const size_t n,
                pread_up_to(file.open->fd.get(), head.span(), 0, name_of(file.node)));
    file.image = has_image_head(head.view().first(n));
  }
  if (file.image && parent) {
    file.parent = parent;
    file.parent_alive =
        alive_bytes(ingest_.layout_.bases()[parent->base].manifest().layout, parent->content);
  }
  return {};
}

Result<> IngestWorker::read_as_image(const Context& context, LargeFile& file, uint64_t begin,
                                     uint64_t end, std::vector<Extent>& extents) {
  const std::string name = name_of(file.node);
  const int fd = file.open->fd.get();
  pages_.clear();
  uint64_t data = begin;  // where the next data is, at the earliest
  for (uint64_t at = begin; at < end; at += kWindowBytes) {
    THAW_CHECK(context.alive());
    yield_lease(file);
    const size_t length = std::min<uint64_t>(kWindowBytes, end - at);
    if (data <= at) {
      const off_t found = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
      // ENXIO: nothing but a hole up to the end. Other answers: a filesystem that cannot tell.
      data = found >= 0 ? static_cast<uint64_t>(found) : errno == ENXIO ? UINT64_MAX : at;
    }
    if (ingest_.progress_ != nullptr) ingest_.progress_->bytes_done += length;
    const std::span<Digest> leaves =
        std::span(leaves_).subspan((at - begin) / limits::kLeafBytes, leaf_count(length));
    if (data >= at + length && length % limits::kLeafBytes == 0) {
      std::fill(leaves.begin(), leaves.end(), zero_leaf_digest());
      continue;
    }
    window_.clear();
    window_.resize(length);
    THAW_ASSIGN(const size_t n, pread_up_to(fd, window_.span(), at, name));
    if (n != length) return Error(Code::busy, name + " shrank while it was being read");
    digest_leaves(window_.view(), leaves);
    THAW_CHECK(lay_window(context, file, {at, window_.view(), leaves}, extents));
  }
  return flush_pages(extents);
}

Result<> IngestWorker::lay_window(const Context& context, const LargeFile& file,
                                  const Window& window, std::vector<Extent>& extents) {
  const std::vector<WindowRun> runs = data_runs(window.content);
  if (runs.empty()) return {};
  if (file.parent) {
    const Layout& layout = ingest_.layout_.bases()[file.parent->base].manifest().layout;
    BaseWindow base;
    base.extents = clipped_extents(layout.extents_of(file.parent->content), window.offset,
                                   window.content.size());
    if (!base.extents.empty()) {
      THAW_ASSIGN(const bool laid,
                  lay_over_base(context, file, window, runs, std::move(base), extents));
      if (laid) return {};
    }
  }
  const Packed packed = pack(window, runs);
  THAW_ASSIGN(const uint32_t chunk, lay_whole_chunk(image_encoder_, packed.content, packed.digest));
  uint32_t offset = 0;
  for (const WindowRun& run : runs) {
    extents.push_back({window.offset + run.begin, chunk, offset, run.end - run.begin});
    offset += run.end - run.begin;
  }
  return {};
}

// What a window holds besides zeros, as one chunk.
IngestWorker::Packed IngestWorker::pack(const Window& window, std::span<const WindowRun> runs) {
  if (runs.size() == 1 && runs[0].begin == 0 && runs[0].end == window.content.size()) {
    return {window.content,
            file_digest(window.content.size(), std::array{span_digest(window.leaves)})};
  }
  packed_.clear();
  for (const WindowRun& run : runs) {
    packed_.append(window.content.subspan(run.begin, run.end - run.begin));
  }
  return {packed_.view(), content_digest(packed_.view())};
}

// False when the base has nothing of the window that would be worth keeping.
Result<bool> IngestWorker::lay_over_base(const Context& context, const LargeFile& file,
                                         const Window& window, std::span<const WindowRun> runs,
                                         BaseWindow base, std::vector<Extent>& extents) {
  LayoutBuilder& builder = ingest_.layout_;
  const ImageParent& parent = *file.parent;
  const Layout& layout = builder.bases()[parent.base].manifest().layout;
  const ChunkPlace& first = layout.chunks[base.extents[0].chunk];
  if (is_one_chunk_of(base.extents, window.offset, runs, first.content_bytes) &&
      pack(window, runs).digest == first.digest) {
    // Laid down anew, if the budget gave it up.
    if (!builder.base_gives(parent.base, base.extents[0].chunk)) return false;
    THAW_CHECK(lay_pages(window, {std::move(base.extents), {}}, parent.base, extents));
    return true;
  }
  std::vector<Extent> there;
  for (const Extent& extent : base.extents) {
    if (builder.base_gives(parent.base, extent.chunk)) {
      there.push_back(extent);
    } else {
      base.lost.push_back(extent.chunk);
    }
  }
  if (there.empty()) return false;
  base_window_.clear();
  base_window_.resize(window.content.size());
  THAW_ASSIGN(const auto lost, base_reader_.read(context, parent.base, there, window.offset,
                                                 base_window_.span(), read_next(parent, window)));
  base.lost.insert(base.lost.end(), lost.begin(), lost.end());
  base.content = base_window_.view();
  base.alive = &file.parent_alive;
  const WindowPlan plan = plan_window(window.content, window.offset, base);
  if (plan.kept.empty()) return false;
  THAW_CHECK(lay_pages(window, plan, parent.base, extents));
  return true;
}

// What the base has of the windows after this one that are surely read: one that is a single chunk
// may turn out to be the same by its digest.
std::vector<Extent> IngestWorker::read_next(const ImageParent& parent, const Window& window) const {
  std::vector<Extent> next;
  if (ingest_.options_.distance == StoreDistance::local) return next;
  const LayoutBuilder& builder = ingest_.layout_;
  const Layout& layout = builder.bases()[parent.base].manifest().layout;
  for (uint64_t i = 1; i <= kWindowsAhead; ++i) {
    const auto extents = clipped_extents(layout.extents_of(parent.content),
                                         window.offset + i * kWindowBytes, kWindowBytes);
    const bool one_chunk = std::all_of(extents.begin(), extents.end(), [&](const Extent& extent) {
      return extent.chunk == extents.front().chunk;
    });
    if (one_chunk) continue;
    for (const Extent& extent : extents) {
      if (builder.base_gives(parent.base, extent.chunk)) next.push_back(extent);
    }
  }
  return next;
}

// The base's pieces and the window's own pages, in order. Those join pages of neighbouring windows
// in a chunk that has no number yet.
Result<> IngestWorker::lay_pages(const Window& window, const WindowPlan& plan, uint32_t base,
                                 std::vector<Extent>& extents) {
  size_t fresh_bytes = 0;
  for (const WindowRun& run : plan.fresh) fresh_bytes += run.end - run.begin;
  if (pages_.size() + fresh_bytes > kMostPagesBytes) THAW_CHECK(flush_pages(extents));
  const auto first = static_cast<ptrdiff_t>(extents.size());
  for (Extent extent : plan.kept) {
    const auto chunk = ingest_.layout_.claim_base_chunk(base, extent.chunk);
    if (!chunk) return Error(Code::internal, "a chunk of a base was given up while it was in use");
    extent.chunk = *chunk;
    extents.push_back(extent);
  }
  for (const WindowRun& run : plan.fresh) {
    extents.push_back({window.offset + run.begin, kNone, static_cast<uint32_t>(pages_.size()),
                       run.end - run.begin});
    pages_.append(window.content.subspan(run.begin, run.end - run.begin));
  }
  std::sort(extents.begin() + first, extents.end(),
            [](const Extent& a, const Extent& b) { return a.file_offset < b.file_offset; });
  return pages_.size() >= kPagesBytes ? flush_pages(extents) : Result<>();
}

Result<> IngestWorker::flush_pages(std::vector<Extent>& extents) {
  if (pages_.empty()) return {};
  THAW_ASSIGN(const uint32_t chunk,
              lay_whole_chunk(image_encoder_, pages_.view(), content_digest(pages_.view())));
  for (Extent& extent : extents) {
    if (extent.chunk == kNone) extent.chunk = chunk;
  }
  pages_.clear();
  return {};
}

}  // namespace thaw
