#include "snapshot/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/task_group.h"
#include "format/limits.h"
#include "snapshot/chunk_supply.h"
#include "snapshot/path_index.h"
#include "snapshot/read_ahead.h"

namespace thaw {
namespace {

// Chunks that one step of a long read claims: a step holds up whoever reads the same at the same
// time until it is through.
constexpr uint64_t kStepBytes = 32 * 1024 * 1024;
// What one task fetches ahead, and how many of them may wait.
constexpr uint64_t kAheadBytes = 4 * 1024 * 1024;
constexpr unsigned kAheadTasks = 32;

// A quarter of the cache; nothing where that is not even a chunk, which would push out what is
// read.
uint64_t ahead_bytes(uint64_t cache_bytes) {
  const uint64_t quarter = cache_bytes / 4;
  return quarter >= limits::kMiB ? quarter : 0;
}

// A part of a read that lies in a chunk which is not in memory.
struct Part {
  uint32_t chunk;
  uint32_t chunk_offset;
  MutableBytes to;
};

class Reader final : public SnapshotReader {
 public:
  Reader(ObjectStore& store, Manifest manifest, ChunkCache& cache, ReaderOptions options,
         const Context& process)
      : manifest_(std::move(manifest)),
        options_(options),
        process_(process),
        cache_bytes_(cache.limit_bytes()),
        supply_(store, manifest_, cache, options.damage == nullptr ? no_damage_ : *options.damage,
                options.allowance == nullptr
                    ? own_allowance_.emplace(transfer_limits(options.distance))
                    : *options.allowance),
        read_ahead_(options.read_ahead ? ahead_bytes(cache_bytes_) : 0) {}

  const Manifest& manifest() const override { return manifest_; }

  Result<FileRef> find_file(std::string_view path) const override {
    std::call_once(paths_made_, [this] { paths_.emplace(manifest_.tree); });
    return paths_->find_file(path);
  }

  Result<size_t> read_at(const Context& context, FileRef file, uint64_t offset,
                         MutableBytes into) override {
    THAW_ASSIGN(const uint64_t size, size_of(file));
    if (offset > size) {
      return Error(Code::invalid,
                   fmt::format("offset {} lies past the end of a file of {} bytes", offset, size));
    }
    into = into.first(std::min<uint64_t>(into.size(), size - offset));
    if (into.empty()) return size_t{0};
    const std::vector<Part> missing = copy_from_memory(file.content, offset, into);
    if (!missing.empty()) THAW_CHECK(fetch(context, missing));
    if (options_.read_ahead) {
      const auto ahead = read_ahead_.note(file.content, offset, into.size(), size);
      if (ahead.length != 0) fetch_ahead(file.content, ahead, true);
    }
    return into.size();
  }

  void will_need(FileRef file, uint64_t offset, uint64_t length) override {
    const auto size = size_of(file);
    if (!size || offset >= *size) return;
    length = std::min({length, *size - offset, cache_bytes_ / 2});
    fetch_ahead(file.content, {offset, length}, false);
  }

  std::vector<DataRun> extents(FileRef file, uint64_t offset, uint64_t length) const override {
    std::vector<DataRun> runs;
    const auto size = size_of(file);
    if (!size || offset >= *size) return runs;
    const uint64_t end = offset + std::min(length, *size - offset);
    for (const Extent& extent : extents_from(file.content, offset)) {
      if (extent.file_offset >= end) break;
      const uint64_t from = std::max(extent.file_offset, offset);
      const uint64_t to = std::min(extent.file_offset + extent.length, end);
      if (!runs.empty() && runs.back().offset + runs.back().length == from) {
        runs.back().length += to - from;
      } else if (from < to) {
        runs.push_back({from, to - from});
      }
    }
    return runs;
  }

 private:
  Result<uint64_t> size_of(FileRef file) const {
    if (file.content < manifest_.tree.contents.size()) {
      return manifest_.tree.contents[file.content].size_bytes;
    }
    return Error(Code::invalid, "a file of another snapshot");
  }

  // From the first extent that ends behind `offset`.
  std::span<const Extent> extents_from(uint32_t content, uint64_t offset) const {
    const auto extents = manifest_.layout.extents_of(content);
    const auto first = std::partition_point(
        extents.begin(), extents.end(),
        [offset](const Extent& extent) { return extent.file_offset + extent.length <= offset; });
    return extents.subspan(static_cast<size_t>(first - extents.begin()));
  }

  // Zeros, and what is in memory. What is not is answered, in the order of the file.
  std::vector<Part> copy_from_memory(uint32_t content, uint64_t offset, MutableBytes into) {
    std::vector<Part> missing;
    const uint64_t end = offset + into.size();
    uint64_t at = offset;
    for (const Extent& extent : extents_from(content, offset)) {
      if (extent.file_offset >= end) break;
      if (extent.file_offset > at) {
        std::memset(into.data() + (at - offset), 0, extent.file_offset - at);
        at = extent.file_offset;
      }
      const uint64_t length = std::min(extent.file_offset + extent.length, end) - at;
      const auto chunk_offset =
          extent.chunk_offset + static_cast<uint32_t>(at - extent.file_offset);
      const MutableBytes to = into.subspan(at - offset, length);
      const Buffer chunk = supply_.find(extent.chunk);
      if (chunk.empty()) {
        missing.push_back({extent.chunk, chunk_offset, to});
      } else {
        std::memcpy(to.data(), chunk.data() + chunk_offset, to.size());
      }
      at += length;
    }
    if (at < end) std::memset(into.data() + (at - offset), 0, end - at);
    return missing;
  }

  // In steps, so that a long read holds no more than a part of what it needs.
  Result<> fetch(const Context& context, const std::vector<Part>& missing) {
    for (size_t begin = 0; begin < missing.size();) {
      size_t end = begin;
      uint64_t bytes = 0;
      while (end < missing.size() && (end == begin || bytes < kStepBytes)) {
        if (end == begin || missing[end].chunk != missing[end - 1].chunk) {
          bytes += manifest_.layout.chunks[missing[end].chunk].content_bytes;
        }
        ++end;
      }
      THAW_CHECK(fetch_step(context, {missing.begin() + static_cast<ptrdiff_t>(begin),
                                      missing.begin() + static_cast<ptrdiff_t>(end)}));
      begin = end;
    }
    return {};
  }

  Result<> fetch_step(const Context& context, std::vector<Part> parts) {
    auto by_chunk = [](const Part& a, const Part& b) { return a.chunk < b.chunk; };
    std::stable_sort(parts.begin(), parts.end(), by_chunk);
    std::vector<uint32_t> chunks;
    for (const Part& part : parts) {
      if (chunks.empty() || chunks.back() != part.chunk) chunks.push_back(part.chunk);
    }
    return supply_.obtain(context, std::move(chunks), [&](uint32_t chunk, const Buffer& content) {
      const auto [first, last] =
          std::equal_range(parts.begin(), parts.end(), Part{chunk, 0, {}}, by_chunk);
      for (auto part = first; part != last; ++part) {
        std::memcpy(part->to.data(), content.data() + part->chunk_offset, part->to.size());
      }
    });
  }

  // Hands a range to the threads that fetch ahead, as far as their queue has room.
  void fetch_ahead(uint32_t content, const ReadAhead::Range& range, bool for_run) {
    for (uint64_t done = 0; done < range.length; done += kAheadBytes) {
      if (queued_.fetch_add(1) >= kAheadTasks) {
        --queued_;
        return;
      }
      const ReadAhead::Range part{range.offset + done, std::min(kAheadBytes, range.length - done),
                                  range.run};
      // It never blocks: the queue has room for as many as are counted.
      ahead_group().submit([this, content, part, for_run](const Context& context) -> Result<> {
        --queued_;
        if (!for_run || read_ahead_.is_wanted(content, part)) take_ahead(context, content, part);
        return {};
      });
    }
  }

  void take_ahead(const Context& context, uint32_t content, const ReadAhead::Range& range) {
    std::vector<uint32_t> chunks;
    for (const Extent& extent : extents_from(content, range.offset)) {
      if (extent.file_offset >= range.offset + range.length) break;
      if (!supply_.holds(extent.chunk)) chunks.push_back(extent.chunk);
    }
    std::sort(chunks.begin(), chunks.end());
    chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
    const auto done = supply_.fetch_ahead(context, chunks);
    // Whoever needs it fetches it, and learns why that fails.
    if (!done) log::debug("not fetched ahead: {}", done.error().text());
  }

  TaskGroup& ahead_group() {
    std::call_once(ahead_started_,
                   [this] { ahead_.emplace(process_, options_.threads, kAheadTasks); });
    return *ahead_;
  }

  const Manifest manifest_;
  const ReaderOptions options_;
  const Context& process_;
  const uint64_t cache_bytes_;
  const KnownDamage no_damage_{std::nullopt};
  std::optional<FetchAllowance> own_allowance_;
  ChunkSupply supply_;
  ReadAhead read_ahead_;
  mutable std::once_flag paths_made_;
  mutable std::optional<PathIndex> paths_;
  std::atomic<unsigned> queued_{0};
  std::once_flag ahead_started_;
  std::optional<TaskGroup> ahead_;  // last: its threads end first
};

}  // namespace

std::shared_ptr<SnapshotReader> open_reader(ObjectStore& store, Manifest manifest,
                                            ChunkCache& cache, ReaderOptions options,
                                            const Context& process) {
  return std::make_shared<Reader>(store, std::move(manifest), cache, options, process);
}

}  // namespace thaw
