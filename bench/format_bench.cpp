// Micro-benchmarks of the format: digests, chunking, frames, manifests.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "base/random.h"
#include "format/chunker.h"
#include "format/digest.h"
#include "format/frame.h"
#include "format/limits.h"
#include "format/manifest.h"
#include "format/tree.h"

namespace thaw {
namespace {

using limits::kMiB;

// The same bytes in every run.
ByteVector random_content(size_t size_bytes) {
  std::mt19937_64 random(1);
  ByteVector content(size_bytes);
  for (uint8_t& byte : content.span()) byte = static_cast<uint8_t>(random());
  return content;
}

// Words in random order, as source text compresses: to a third or so.
ByteVector text_content(size_t size_bytes) {
  constexpr std::string_view kWords[] = {"const ",   "return ", "function(", ") {\n  ", "this.",
                                         "exports.", "value",   "index",     ";\n",     " = ",
                                         "require(", "'./",     "')",        "length",  "=> "};
  std::mt19937_64 random(1);
  ByteVector content;
  content.reserve(size_bytes + 64);
  while (content.size() < size_bytes) {
    content.append(as_bytes(kWords[random() % std::size(kWords)]));
    append_le(content, static_cast<uint8_t>('a' + random() % 26));
  }
  content.resize(size_bytes);
  return content;
}

void count_bytes(benchmark::State& state, size_t per_iteration) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * per_iteration));
}

void digest(benchmark::State& state) {
  const ByteVector content = random_content(static_cast<size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(sha256(content.view()));
  count_bytes(state, content.size());
}
BENCHMARK(digest)->Arg(4 << 10)->Arg(64 << 10)->Arg(1 << 20);

void chunking(benchmark::State& state) {
  const ByteVector content = random_content(64 * kMiB);
  const size_t window = ChunkerSizes().max_bytes;
  for (auto _ : state) {
    for (size_t at = 0; at < content.size();) {
      const size_t offered = std::min(window, content.size() - at);
      at += first_chunk_length(content.view().subspan(at, offered));
    }
  }
  count_bytes(state, content.size());
}
BENCHMARK(chunking)->Unit(benchmark::kMillisecond);

void frame_encode(benchmark::State& state) {
  const ByteVector content = text_content(static_cast<size_t>(state.range(0)));
  FrameEncoder encoder;
  size_t stored_bytes = 0;
  for (auto _ : state) {
    const auto frame = encoder.encode(content.view());
    if (!frame) return state.SkipWithError(frame.error().text().c_str());
    stored_bytes = frame->bytes.size();
  }
  count_bytes(state, content.size());
  state.counters["ratio"] = static_cast<double>(stored_bytes) / static_cast<double>(content.size());
}
BENCHMARK(frame_encode)->Arg(64 << 10)->Arg(1 << 20)->Arg(4 << 20);

void frame_decode(benchmark::State& state) {
  const ByteVector content = text_content(static_cast<size_t>(state.range(0)));
  FrameEncoder encoder;
  const auto frame = encoder.encode(content.view());
  if (!frame) return state.SkipWithError(frame.error().text().c_str());
  FrameDecoder decoder;
  for (auto _ : state) {
    const auto decoded = decoder.decode(frame->codec, frame->bytes, content.size());
    if (!decoded) return state.SkipWithError(decoded.error().text().c_str());
    benchmark::DoNotOptimize(decoded->data());
  }
  count_bytes(state, content.size());
}
BENCHMARK(frame_decode)->Arg(64 << 10)->Arg(1 << 20)->Arg(4 << 20);

// A manifest as a large node_modules gives one: directories of nine files, every content its own,
// in bundles of 64 files.
class ManifestMaker {
 public:
  Manifest make(uint32_t nodes) {
    add_node(0, "", S_IFDIR | 0755, kNone);
    for (uint32_t dir = 0; manifest_.tree.nodes.size() < nodes; ++dir) {
      const uint32_t parent = add_node(0, fmt::format("package-{:06}", dir), S_IFDIR | 0755, kNone);
      for (int file = 0; file < 9 && manifest_.tree.nodes.size() < nodes; ++file) {
        const std::string name = fmt::format("module-{}.js", file);
        add_node(parent, name, S_IFREG | 0644, add_content(500 + random_() % 16'000));
      }
    }
    place_bundles();
    return std::move(manifest_);
  }

 private:
  static constexpr uint32_t kPerBundle = 64;

  uint32_t add_node(uint32_t parent, std::string_view name, unsigned mode, uint32_t payload) {
    Tree& tree = manifest_.tree;
    Node node;
    node.parent = parent;
    node.name_offset = static_cast<uint32_t>(tree.names.size());
    node.name_length = static_cast<uint8_t>(name.size());
    node.mode = static_cast<uint16_t>(mode);
    node.mtime_ns = 1'700'000'000'000'000'000 + static_cast<int64_t>(random_() % 1'000'000'000);
    node.payload = payload;
    tree.names += name;
    tree.nodes.push_back(node);
    return static_cast<uint32_t>(tree.nodes.size() - 1);
  }

  uint32_t add_content(uint64_t size_bytes) {
    Layout& layout = manifest_.layout;
    const auto index = static_cast<uint32_t>(layout.contents.size());
    if (index % kPerBundle == 0) add_bundle();
    ChunkPlace& bundle = layout.chunks.back();
    const auto length = static_cast<uint32_t>(size_bytes);
    const auto chunk = static_cast<uint32_t>(layout.chunks.size() - 1);
    layout.extents.push_back({0, chunk, bundle.content_bytes, length});
    layout.contents.push_back({index, 1});
    bundle.content_bytes += length;
    manifest_.tree.contents.push_back({random_digest(), size_bytes});
    return index;
  }

  void add_bundle() {
    ChunkPlace bundle;
    bundle.digest = random_digest();
    bundle.codec = Codec::zstd;
    bundle.kind = ChunkKind::bundle;
    manifest_.layout.chunks.push_back(bundle);
  }

  // Once the bundles have their lengths.
  void place_bundles() {
    std::vector<PackRef>& packs = manifest_.layout.packs;
    for (ChunkPlace& bundle : manifest_.layout.chunks) {
      if (packs.empty() || packs.back().size_bytes > 16 * kMiB) {
        packs.push_back({RandomId::fresh(), 0, 0});
      }
      PackRef& pack = packs.back();
      bundle.pack = static_cast<uint32_t>(packs.size() - 1);
      bundle.offset = static_cast<uint32_t>(pack.size_bytes);
      bundle.stored_bytes = bundle.content_bytes / 3;
      pack.size_bytes += bundle.stored_bytes;
    }
  }

  Digest random_digest() {
    Digest digest;
    for (uint8_t& byte : digest.bytes) byte = static_cast<uint8_t>(random_());
    return digest;
  }

  std::mt19937_64 random_{1};
  Manifest manifest_;
};

constexpr uint32_t kNodes = 50'000;

Manifest sample() { return ManifestMaker().make(kNodes); }

void count_nodes(benchmark::State& state) {
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kNodes));
}

void manifest_encode(benchmark::State& state) {
  Manifest manifest = sample();
  const auto threads = static_cast<unsigned>(state.range(0));
  size_t size_bytes = 0;
  for (auto _ : state) {
    const auto object = encode_manifest(Context(), manifest, threads);
    if (!object) return state.SkipWithError(object.error().text().c_str());
    size_bytes = object->size();
  }
  count_nodes(state);
  state.counters["object_bytes"] = static_cast<double>(size_bytes);
}
BENCHMARK(manifest_encode)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();

void manifest_decode(benchmark::State& state) {
  Manifest manifest = sample();
  const auto object = encode_manifest(Context(), manifest, 1);
  if (!object) return state.SkipWithError(object.error().text().c_str());
  for (auto _ : state) {
    const auto decoded = decode_manifest(object->view());
    if (!decoded) return state.SkipWithError(decoded.error().text().c_str());
  }
  count_nodes(state);
}
BENCHMARK(manifest_decode)->Unit(benchmark::kMillisecond);

void tree_check(benchmark::State& state) {
  const Manifest manifest = sample();
  for (auto _ : state) {
    const auto checked = check_tree(manifest.tree);
    if (!checked) return state.SkipWithError(checked.error().text().c_str());
  }
  count_nodes(state);
}
BENCHMARK(tree_check)->Unit(benchmark::kMillisecond);

void tree_ids(benchmark::State& state) {
  const Manifest manifest = sample();
  for (auto _ : state) benchmark::DoNotOptimize(ids_of(manifest.tree));
  count_nodes(state);
}
BENCHMARK(tree_ids)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace thaw
