#include "format/manifest.h"

#include <zstd.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>

#include "base/task_group.h"
#include "format/limits.h"
#include "format/manifest_body.h"

namespace thaw {
namespace {

constexpr std::string_view kMagic = "thawmf01";
constexpr size_t kFixedHeadBytes = 32;
constexpr size_t kPackRefBytes = 32;
constexpr size_t kDigestBytes = 32;

// Blocks of the body are compressed apart, on all cores; their frames joined are one zstd stream.
constexpr size_t kBlockBytes = 1024 * 1024;
// A manifest is mostly digests, which no level shrinks: 3 takes 1% off level 1 at twice its time.
constexpr int kLevel = 1;

Result<std::vector<ByteVector>> compress_blocks(const Context& context, Bytes body,
                                                unsigned threads) {
  const size_t count = (body.size() + kBlockBytes - 1) / kBlockBytes;
  std::vector<ByteVector> frames(count);
  THAW_CHECK(
      parallel_for(context, threads, count, [&](const Context&, unsigned, size_t i) -> Result<> {
        const Bytes block =
            body.subspan(i * kBlockBytes, std::min(kBlockBytes, body.size() - i * kBlockBytes));
        ByteVector frame(ZSTD_compressBound(block.size()));
        const size_t n =
            ZSTD_compress(frame.data(), frame.size(), block.data(), block.size(), kLevel);
        if (ZSTD_isError(n))
          return Error(Code::internal, std::string("zstd: ") + ZSTD_getErrorName(n));
        frame.resize(n);
        frames[i] = std::move(frame);
        return {};
      }));
  return frames;
}

// Per pack, the bytes of its frames that the layout uses.
std::vector<uint64_t> live_bytes(const Layout& layout) {
  std::vector<uint64_t> live(layout.packs.size());
  for (const ChunkPlace& chunk : layout.chunks) live[chunk.pack] += chunk.stored_bytes;
  return live;
}

bool body_is_in_bounds(uint64_t body_bytes, uint64_t stored_bytes) {
  return body_bytes <= limits::kManifestBodyBytes && stored_bytes <= limits::kManifestStoredBytes &&
         body_bytes <= limits::kManifestBodyFree + limits::kManifestBodyRatio * stored_bytes;
}

struct Head {
  std::vector<PackRef> packs;
  uint64_t body_bytes = 0;
  uint64_t stored_bytes = 0;
  size_t head_bytes = 0;
};

Result<Head> parse_head(Bytes object, uint64_t* needed_bytes) {
  *needed_bytes = kFixedHeadBytes;
  if (object.size() < kFixedHeadBytes) return Error(Code::corrupt, "a manifest that is cut off");
  if (as_text(object.first(8)) != kMagic) return Error(Code::corrupt, "not a manifest");
  const auto count = load_le<uint32_t>(object.data() + 8);
  if (count > limits::kManifestPacks || load_le<uint32_t>(object.data() + 12) != 0) {
    return Error(Code::corrupt, "a manifest's head is out of bounds");
  }
  Head head;
  const size_t packs_end = kFixedHeadBytes + count * kPackRefBytes;
  head.head_bytes = packs_end + kDigestBytes;
  *needed_bytes = head.head_bytes;
  if (object.size() < head.head_bytes) return Error(Code::corrupt, "a manifest that is cut off");
  const Digest sum = sha256(object.first(packs_end));
  if (!std::equal(sum.bytes.begin(), sum.bytes.end(), object.data() + packs_end)) {
    return Error(Code::corrupt, "a manifest's head does not match its digest");
  }
  head.body_bytes = load_le<uint64_t>(object.data() + 16);
  head.stored_bytes = load_le<uint64_t>(object.data() + 24);
  head.packs.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* from = object.data() + kFixedHeadBytes + i * kPackRefBytes;
    std::copy_n(from, 16, head.packs[i].id.bytes.begin());
    head.packs[i].size_bytes = load_le<uint64_t>(from + 16);
    head.packs[i].live_stored_bytes = load_le<uint64_t>(from + 24);
  }
  return head;
}

// The sum of what the frames say that they hold; empty when one is malformed or does not say.
std::optional<uint64_t> stated_content_bytes(Bytes frames) {
  uint64_t sum = 0;
  while (!frames.empty()) {
    // Not every frame that the library reads is one of RFC 8878.
    if (frames.size() < 4 || load_le<uint32_t>(frames.data()) != ZSTD_MAGICNUMBER) {
      return std::nullopt;
    }
    const size_t stored = ZSTD_findFrameCompressedSize(frames.data(), frames.size());
    const unsigned long long content = ZSTD_getFrameContentSize(frames.data(), frames.size());
    if (ZSTD_isError(stored) || content > limits::kManifestBodyBytes) return std::nullopt;
    sum += content;
    frames = frames.subspan(stored);
  }
  return sum;
}

Result<ByteVector> decompress_body(const Head& head, Bytes stored) {
  if (stored.size() != head.stored_bytes ||
      !body_is_in_bounds(head.body_bytes, head.stored_bytes)) {
    return Error(Code::corrupt, "a manifest's body has not the length that its head says");
  }
  // Before a hostile head makes us take memory for what the frames do not hold.
  if (stated_content_bytes(stored) != head.body_bytes) {
    return Error(Code::corrupt, "a manifest's body does not hold as much as its head says");
  }
  ByteVector body(head.body_bytes);
  const size_t n = ZSTD_decompress(body.data(), body.size(), stored.data(), stored.size());
  if (ZSTD_isError(n) || n != head.body_bytes) {
    return Error(Code::corrupt, "a manifest's body does not decompress");
  }
  return body;
}

}  // namespace

Result<ByteVector> encode_manifest(const Context& context, Manifest& manifest, unsigned threads) {
  THAW_CHECK(check_tree(manifest.tree));
  THAW_CHECK(check_layout(manifest.tree, manifest.layout));
  const std::vector<uint64_t> live = live_bytes(manifest.layout);
  for (size_t i = 0; i < live.size(); ++i) manifest.layout.packs[i].live_stored_bytes = live[i];
  THAW_ASSIGN(const ByteVector body, encode_manifest_body(manifest));
  THAW_ASSIGN(const auto frames, compress_blocks(context, body.view(), threads));
  const uint64_t stored =
      std::accumulate(frames.begin(), frames.end(), uint64_t{0},
                      [](uint64_t sum, const ByteVector& frame) { return sum + frame.size(); });

  if (!body_is_in_bounds(body.size(), stored)) {
    return Error(Code::exhausted, "a manifest larger than its caps");
  }
  ByteVector object;
  object.reserve(kFixedHeadBytes + manifest.layout.packs.size() * kPackRefBytes + kDigestBytes +
                 stored);
  object.append(as_bytes(kMagic));
  append_le(object, static_cast<uint32_t>(manifest.layout.packs.size()));
  append_le(object, uint32_t{0});
  append_le(object, uint64_t{body.size()});
  append_le(object, stored);
  for (const PackRef& pack : manifest.layout.packs) {
    object.append(pack.id.bytes);
    append_le(object, pack.size_bytes);
    append_le(object, pack.live_stored_bytes);
  }
  object.append(sha256(object.view()).bytes);
  for (const ByteVector& frame : frames) object.append(frame.view());
  if (object.size() > limits::kManifestStoredBytes) {
    return Error(Code::exhausted, "a manifest larger than its cap of 1 GiB");
  }
  return object;
}

namespace {

Result<> check_decoded(const Manifest& manifest) {
  THAW_CHECK(check_tree(manifest.tree));
  THAW_CHECK(check_layout(manifest.tree, manifest.layout));
  const std::vector<uint64_t> live = live_bytes(manifest.layout);
  for (size_t i = 0; i < live.size(); ++i) {
    if (manifest.layout.packs[i].live_stored_bytes != live[i]) {
      return Error(Code::corrupt, "a manifest's head counts other bytes than its chunks");
    }
  }
  return {};
}

}  // namespace

Result<Manifest> decode_manifest(Bytes object) {
  if (object.size() > limits::kManifestStoredBytes) {
    return Error(Code::corrupt, "a manifest larger than its cap");
  }
  uint64_t needed = 0;
  THAW_ASSIGN(Head head, parse_head(object, &needed));
  THAW_ASSIGN(const ByteVector body, decompress_body(head, object.subspan(head.head_bytes)));
  Manifest manifest;
  manifest.layout.packs = std::move(head.packs);
  THAW_CHECK(decode_manifest_body(body.view(), manifest));
  // To pass a cap is the writer's misfortune, but the reader's corruption: nobody writes such
  // bytes.
  auto checked = check_decoded(manifest);
  if (!checked) return Error(Code::corrupt, checked.error().message());
  return manifest;
}

Result<std::vector<PackRef>> decode_manifest_head(Bytes prefix, uint64_t* needed_bytes) {
  THAW_ASSIGN(Head head, parse_head(prefix, needed_bytes));
  return std::move(head.packs);
}

}  // namespace thaw
