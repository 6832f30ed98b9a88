#include <algorithm>
#include <cstring>

#include "format/chunker.h"
#include "format/limits.h"
#include "snapshot/ingest_worker.h"
#include "snapshot/lay_chunk.h"

namespace thaw {

Result<bool> IngestWorker::open_large(LargeFile& file) {
  const std::lock_guard lock(file.mutex);
  if (file.gone) return false;
  if (file.open) return true;
  auto opened = open_file(file.node);
  if (!opened && opened.error().code() == Code::not_found) {
    file.gone = true;
    return false;
  }
  if (!opened) return std::move(opened).within("save " + name_of(file.node)).error();
  if (opened->lease && !ctime_is_past(opened->stat.ctime_ns)) opened->lease.reset();
  file.open = *std::move(opened);
  THAW_CHECK(choose_cut(file));
  return true;
}

// A writer who waits for our lease comes first: large files take long.
void IngestWorker::yield_lease(LargeFile& file) {
  const std::lock_guard lock(file.mutex);
  if (file.open->lease && !file.open->lease->unbroken()) file.open->lease->release();
}

Result<> IngestWorker::read_segment(const Context& context, LargeFile& file, uint64_t segment) {
  THAW_ASSIGN(const bool there, open_large(file));
  // One that changed size since it was listed is read anew as a whole once all are through.
  const bool fits =
      there && file.open->stat.size_bytes == ingest_.scan_.stats[file.node].size_bytes;
  if (fits && !file.torn) {
    auto read = read_open_segment(context, file, segment);
    if (!read && read.error().code() != Code::busy) return read;
    if (!read) file.torn = true;
  }
  if (file.segments_left.fetch_sub(1) != 1) return {};
  if (!there) {
    drop(file.node);
    return {};
  }
  if (fits && !file.torn) {
    THAW_ASSIGN(const bool complete_now, complete(file));
    if (complete_now) return {};
  }
  return read_large_alone(context, file, 2);
}

Result<> IngestWorker::read_large_alone(const Context& context, LargeFile& file,
                                        int attempts_left) {
  for (int attempt = 0; attempt < attempts_left; ++attempt) {
    file.open.reset();
    file.gone = false;
    THAW_ASSIGN(const bool there, open_large(file));
    if (!there) {
      drop(file.node);
      return {};
    }
    const uint64_t size = file.open->stat.size_bytes;
    file.spans.assign(span_count(size), sha256({}));
    file.extents.assign((size + kSegmentBytes - 1) / kSegmentBytes, {});
    bool short_read = false;
    for (uint64_t i = 0; i < file.segments() && !short_read; ++i) {
      auto read = read_open_segment(context, file, i);
      short_read = !read && read.error().code() == Code::busy;
      if (!read && !short_read) return read;
    }
    if (short_read) continue;
    THAW_ASSIGN(const bool complete_now, complete(file));
    if (complete_now) return {};
  }
  return Error(Code::busy,
               name_of(file.node) + " changed each of the three times that it was read");
}

Result<> IngestWorker::read_open_segment(const Context& context, LargeFile& file,
                                         uint64_t segment) {
  const uint64_t begin = segment * kSegmentBytes;
  const uint64_t end = std::min(begin + kSegmentBytes, file.open->stat.size_bytes);
  std::vector<Extent>& extents = file.extents[segment];
  leaves_.resize(leaf_count(end - begin));
  THAW_CHECK(file.image ? read_as_image(context, file, begin, end, extents)
                        : read_by_content(context, file, begin, end, extents));
  file.spans[segment] = span_digest(leaves_);
  return {};
}

// The window holds the bytes from `base` to `filled`; `cut` and `hashed` go through it each at its
// own pace, for leaves lie on a fixed grid and chunks do not.
Result<> IngestWorker::read_by_content(const Context& context, LargeFile& file, uint64_t begin,
                                       uint64_t end, std::vector<Extent>& extents) {
  const ChunkerSizes sizes;
  const std::string name = name_of(file.node);
  uint64_t base = begin;
  uint64_t filled = begin;
  uint64_t cut = begin;
  uint64_t hashed = begin;
  window_.clear();
  window_.reserve(2 * sizes.max_bytes);
  while (cut < end) {
    THAW_CHECK(context.alive());
    yield_lease(file);
    const uint64_t keep = std::min(cut, hashed);
    std::memmove(window_.data(), window_.data() + (keep - base), filled - keep);
    base = keep;
    const size_t have = filled - base;
    const size_t want = std::min<uint64_t>(2 * sizes.max_bytes - have, end - filled);
    window_.resize(have + want);
    THAW_ASSIGN(const size_t n,
                pread_up_to(file.open->fd.get(), window_.span().subspan(have), filled, name));
    if (n != want) return Error(Code::busy, name + " shrank while it was being read");
    filled += want;

    std::vector<Bytes> parts;
    while (cut < filled && (filled == end || filled - cut >= sizes.max_bytes)) {
      const Bytes ahead = window_.view().subspan(cut - base);
      parts.push_back(ahead.first(
          first_chunk_length(ahead.first(std::min(ahead.size(), sizes.max_bytes)), sizes)));
      batch_.add(parts.back());
      cut += parts.back().size();
    }
    const size_t chunks = parts.size();
    const size_t first_leaf = (hashed - begin) / limits::kLeafBytes;
    while (hashed < filled && (filled == end || filled - hashed >= limits::kLeafBytes)) {
      const size_t length = std::min<uint64_t>(limits::kLeafBytes, end - hashed);
      batch_.add(window_.view().subspan(hashed - base, length));
      hashed += length;
    }
    const std::vector<Digest> digests = batch_.finish();
    std::copy(digests.begin() + static_cast<ptrdiff_t>(chunks), digests.end(),
              leaves_.begin() + static_cast<ptrdiff_t>(first_leaf));
    uint64_t at = extents.empty() ? begin : extents.back().file_offset + extents.back().length;
    for (size_t i = 0; i < chunks; ++i) {
      THAW_ASSIGN(const uint32_t number, lay_whole_chunk(encoder_, parts[i], digests[i]));
      extents.push_back({at, number, 0, static_cast<uint32_t>(parts[i].size())});
      at += parts[i].size();
      if (ingest_.progress_ != nullptr) ingest_.progress_->bytes_done += parts[i].size();
    }
  }
  return {};
}

Result<uint32_t> IngestWorker::lay_whole_chunk(FrameEncoder& encoder, Bytes content,
                                               const Digest& digest) {
  return thaw::lay_whole_chunk(ingest_.layout_, ingest_.packs_, encoder, content, digest);
}

// True when the file is still the one that was opened, and now has its place in the layout.
Result<bool> IngestWorker::complete(LargeFile& file) {
  OpenFile& open = *file.open;
  THAW_ASSIGN(const bool same, unchanged(open, name_of(file.node)));
  if (!same) return false;
  const Content content{file_digest(open.stat.size_bytes, file.spans), open.stat.size_bytes};
  THAW_ASSIGN(FileRead read, finish_reading(file.node, open, name_of(file.node)));
  const auto claim = ingest_.layout_.claim_content(content);
  accept(std::move(read), claim.content);
  if (claim.lay_down) {
    std::vector<Extent> extents;
    for (const auto& part : file.extents) extents.insert(extents.end(), part.begin(), part.end());
    ingest_.layout_.place_extents(claim.content, std::move(extents));
  }
  file.open.reset();
  return true;
}

}  // namespace thaw
