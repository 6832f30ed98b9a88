// Reads of 4 KiB at random places: from a snapshot whose chunks are all in memory, and by pread(2)
// from a file of the same size and content on tmpfs.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "base/fd.h"
#include "format/pack.h"
#include "format/tree.h"
#include "object/memory.h"
#include "snapshot/catalog.h"
#include "snapshot/chunk_cache.h"
#include "snapshot/reader.h"

namespace thaw {
namespace {

constexpr size_t kChunkBytes = 1024 * 1024;
constexpr size_t kChunks = 256;
constexpr size_t kFileBytes = kChunks * kChunkBytes;
constexpr size_t kReadBytes = 4096;

ByteVector random_content(size_t size_bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  ByteVector content;
  content.reserve(size_bytes);
  while (content.size() < size_bytes) append_le(content, static_cast<uint64_t>(random()));
  return content;
}

// The places to read, worked out beforehand.
std::vector<uint64_t> places() {
  std::mt19937_64 random(1);
  std::vector<uint64_t> offsets(1 << 16);
  for (uint64_t& offset : offsets) offset = random() % (kFileBytes / kReadBytes) * kReadBytes;
  return offsets;
}

void node(Tree& tree, std::string_view name, unsigned mode, uint32_t payload) {
  Node made;
  made.name_offset = static_cast<uint32_t>(tree.names.size());
  made.name_length = static_cast<uint8_t>(name.size());
  made.mode = static_cast<uint16_t>(mode);
  made.payload = payload;
  tree.names += name;
  tree.nodes.push_back(made);
}

// One file, "image", in whole chunks, 16 a pack. Its extents are of `extent_bytes`: a chunk, or a
// page as in an image of many generations.
class OpenImage {
 public:
  explicit OpenImage(uint32_t extent_bytes) {
    Manifest manifest;
    node(manifest.tree, "", S_IFDIR | 0755, kNone);
    node(manifest.tree, "image", S_IFREG | 0644, 0);
    manifest.tree.contents.push_back({Digest(), kFileBytes});
    Layout& layout = manifest.layout;
    PackBuilder pack;
    for (uint32_t i = 0; i < kChunks; ++i) {
      const ByteVector content = random_content(kChunkBytes, i);
      const Digest digest = content_digest(content.view());
      const FrameRecord record{digest, kChunkBytes, kChunkBytes, Codec::raw, ChunkKind::whole};
      const uint32_t offset = pack.add(record, content.view());
      layout.chunks.push_back({digest, static_cast<uint32_t>(layout.packs.size()), offset,
                               kChunkBytes, kChunkBytes, Codec::raw, ChunkKind::whole});
      for (uint32_t at = 0; at < kChunkBytes; at += extent_bytes) {
        layout.extents.push_back({uint64_t{i} * kChunkBytes + at, i, at, extent_bytes});
      }
      if (i % 16 != 15) continue;
      const Buffer bytes = pack.finish();
      layout.packs.push_back({RandomId::fresh(), bytes.size(), 0});
      const auto put =
          store_->put(context_, pack_object(layout.packs.back().id), bytes, PutMode::create);
      if (!put) std::abort();
    }
    layout.contents.push_back({0, static_cast<uint32_t>(layout.extents.size())});
    reader_ = open_reader(*store_, std::move(manifest), cache_, {}, context_);
    file_ = *reader_->find_file("image");
    ByteVector all(kFileBytes);
    if (!reader_->read_at(context_, file_, 0, all.span())) std::abort();
  }

  bool read(uint64_t offset, MutableBytes into) {
    return reader_->read_at(context_, file_, offset, into).ok();
  }

 private:
  const Context context_;
  std::unique_ptr<ObjectStore> store_ = make_memory_store();
  ChunkCache cache_{2 * kFileBytes};
  std::shared_ptr<SnapshotReader> reader_;
  FileRef file_;
};

void read_at_in_memory(benchmark::State& state) {
  static std::unique_ptr<OpenImage> image;
  if (state.thread_index() == 0) {
    image = std::make_unique<OpenImage>(static_cast<uint32_t>(state.range(0)));
  }
  const std::vector<uint64_t> offsets = places();
  std::vector<uint8_t> into(kReadBytes);
  size_t i = static_cast<size_t>(state.thread_index()) * 1000;
  for (auto _ : state) {
    if (!image->read(offsets[i++ % offsets.size()], into)) state.SkipWithError("not read");
    benchmark::DoNotOptimize(into.data());
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
  if (state.thread_index() == 0) image.reset();
}
BENCHMARK(read_at_in_memory)->Arg(kChunkBytes)->Arg(kReadBytes);
BENCHMARK(read_at_in_memory)->Arg(kChunkBytes)->Threads(2)->UseRealTime();

// The same bytes on tmpfs, where the machine has one at its usual place.
class TmpfsFile {
 public:
  TmpfsFile() {
    auto fd = open_path("/dev/shm", O_RDWR | O_TMPFILE, 0600);
    if (!fd) return;
    for (uint64_t i = 0; i < kChunks; ++i) {
      const ByteVector content = random_content(kChunkBytes, i);
      if (!pwrite_all(fd->get(), content.view(), i * kChunkBytes, "tmpfs")) return;
    }
    fd_ = *std::move(fd);
  }
  bool read(uint64_t offset, MutableBytes into) const {
    return ::pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(offset)) ==
           static_cast<ssize_t>(into.size());
  }

 private:
  UniqueFd fd_;
};

void pread_of_tmpfs(benchmark::State& state) {
  const TmpfsFile file;
  const std::vector<uint64_t> offsets = places();
  std::vector<uint8_t> into(kReadBytes);
  size_t i = 0;
  for (auto _ : state) {
    if (!file.read(offsets[i++ % offsets.size()], into)) return state.SkipWithError("not read");
    benchmark::DoNotOptimize(into.data());
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}
BENCHMARK(pread_of_tmpfs);

// Both in turns of 1,000 reads, so that what else the machine does slows both. `ratio`: reads from
// the snapshot in the time of one pread.
void read_at_against_pread(benchmark::State& state) {
  using Clock = std::chrono::steady_clock;
  OpenImage image(static_cast<uint32_t>(state.range(0)));
  const TmpfsFile file;
  const std::vector<uint64_t> offsets = places();
  std::vector<uint8_t> into(kReadBytes);
  Clock::duration in_memory{0};
  Clock::duration on_tmpfs{0};
  size_t turn = 0;
  bool read = true;
  for (auto _ : state) {
    const size_t first = turn++ * 1000;
    const auto begin = Clock::now();
    for (size_t i = 0; i < 1000; ++i)
      read &= image.read(offsets[(first + i) % offsets.size()], into);
    const auto middle = Clock::now();
    for (size_t i = 0; i < 1000; ++i)
      read &= file.read(offsets[(first + i) % offsets.size()], into);
    in_memory += middle - begin;
    on_tmpfs += Clock::now() - middle;
  }
  if (!read) return state.SkipWithError("not read");
  state.counters["ratio"] = static_cast<double>(on_tmpfs.count()) /
                            static_cast<double>(std::max<int64_t>(in_memory.count(), 1));
}
BENCHMARK(read_at_against_pread)->Arg(kChunkBytes)->Arg(kReadBytes);

}  // namespace
}  // namespace thaw
