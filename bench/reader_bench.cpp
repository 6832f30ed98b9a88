// Reads of 4 KiB at random places: from a snapshot whose chunks are all in memory, and by pread(2)
// from a file of the same size and content on tmpfs.
#include <benchmark/benchmark.h>
#include <unistd.h>

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

// One file, "image", in whole chunks of 16 a pack. With `pieces_bytes` each extent is as short as
// in an image of many generations.
class OpenImage {
 public:
  explicit OpenImage(uint32_t piece_bytes) {
    Manifest manifest;
    node(manifest.tree, "", S_IFDIR | 0755, kNone);
    node(manifest.tree, "image", S_IFREG | 0644, 0);
    manifest.tree.contents.push_back({Digest(), kFileBytes});
    Layout& layout = manifest.layout;
    PackBuilder pack;
    for (uint32_t i = 0; i < kChunks; ++i) {
      const ByteVector content = random_content(kChunkBytes, i);
      const Digest digest = sha256(content.view());
      const FrameRecord record{digest, kChunkBytes, kChunkBytes, Codec::raw, ChunkKind::whole};
      const uint32_t offset = pack.add(record, content.view());
      layout.chunks.push_back({digest, static_cast<uint32_t>(layout.packs.size()), offset,
                               kChunkBytes, kChunkBytes, Codec::raw, ChunkKind::whole});
      for (uint32_t at = 0; at < kChunkBytes; at += piece_bytes) {
        layout.extents.push_back({uint64_t{i} * kChunkBytes + at, i, at, piece_bytes});
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

// On tmpfs, where the machine has one at its usual place.
void pread_of_tmpfs(benchmark::State& state) {
  const auto fd = open_path("/dev/shm", O_RDWR | O_TMPFILE, 0600);
  if (!fd) return state.SkipWithError(fd.error().text().c_str());
  for (uint64_t i = 0; i < kChunks; ++i) {
    const ByteVector content = random_content(kChunkBytes, i);
    if (!pwrite_all(fd->get(), content.view(), i * kChunkBytes, "tmpfs")) {
      return state.SkipWithError("tmpfs is full");
    }
  }
  const std::vector<uint64_t> offsets = places();
  std::vector<uint8_t> into(kReadBytes);
  size_t i = 0;
  for (auto _ : state) {
    const auto offset = static_cast<off_t>(offsets[i++ % offsets.size()]);
    if (::pread(fd->get(), into.data(), into.size(), offset) != kReadBytes) {
      return state.SkipWithError("not read");
    }
    benchmark::DoNotOptimize(into.data());
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}
BENCHMARK(pread_of_tmpfs);

}  // namespace
}  // namespace thaw
