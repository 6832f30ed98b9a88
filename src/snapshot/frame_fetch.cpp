#include "snapshot/frame_fetch.h"

#include "base/log.h"
#include "snapshot/catalog.h"

namespace thaw {
namespace {

Result<Buffer> get_bytes(const Context& context, ObjectStore& store, const PackRef& pack,
                         ByteRange range, Freshness freshness) {
  const ObjectKey object = pack_object(pack.id);
  auto got = store.get(context, object, range, freshness);
  if (!got && got.error().code() == Code::not_found) {
    return Error(Code::corrupt,
                 "object " + object.text() + " is missing, and the snapshot needs it");
  }
  bool past_end = false;
  if (!got && got.error().code() == Code::invalid) {
    // Either the range lies past the end, or the store refuses for a reason of its own.
    THAW_ASSIGN(const auto info, store.find(context, object));
    past_end = info && info->size_bytes < range.offset + range.length;
    // The words were the store's, not the caller's: `invalid` is for these.
    if (!past_end) return Error(Code::denied, got.error().text());
  }
  if (!got && !past_end) return std::move(got).error();
  if (past_end || got->bytes.size() != range.length) {
    return Error(Code::corrupt, "object " + object.text() + " is cut off");
  }
  return std::move(got->bytes);
}

// The one place that knows what a whole chunk's digest is of.
bool is_whole_chunk(const ChunkPlace& chunk, Bytes content) {
  return content_digest(content) == chunk.digest;
}

}  // namespace

std::unique_ptr<FrameDecoder> DecoderPool::take() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<FrameDecoder>();
  auto decoder = std::move(idle_.back());
  idle_.pop_back();
  return decoder;
}

void DecoderPool::give_back(std::unique_ptr<FrameDecoder> decoder) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(decoder));
}

Error FrameFetch::remembered(const PackRef& pack, Error error) const {
  if (error.code() == Code::corrupt) damage_.remember(pack.id);
  return error;
}

Result<FrameFetch::Fetched> FrameFetch::fetch(const Context& context, const FetchRange& range,
                                              uint64_t more_bytes) const {
  Fetched fetched;
  THAW_ASSIGN(fetched.reservation, allowance_.budget.reserve(context, range.length + more_bytes));
  THAW_CHECK(allowance_.gate.enter(context));
  const PackRef& pack = layout_.packs[range.pack];
  const ByteRange wanted = ByteRange::of(range.offset, range.length);
  auto bytes = get_bytes(context, store_, pack, wanted, Freshness::any);
  if (!bytes && bytes.error().code() == Code::corrupt) {
    bytes = get_bytes(context, store_, pack, wanted, Freshness::origin);
  }
  allowance_.gate.leave(range.length, !bytes && bytes.error().retryable());
  if (!bytes) return remembered(pack, std::move(bytes).error());
  fetched.bytes = *std::move(bytes);
  return fetched;
}

Result<> FrameFetch::read_frame(const Context& context, uint32_t number, Bytes stored,
                                const Read& read) const {
  auto done = read(stored);
  if (done || done.error().code() != Code::corrupt) return done;
  const ChunkPlace& chunk = layout_.chunks[number];
  const PackRef& pack = layout_.packs[chunk.pack];
  log::warn("object {}, {} bytes at {}: {}; read once more", pack_object(pack.id).text(),
            chunk.stored_bytes, chunk.offset, done.error().text());
  auto again = get_bytes(context, store_, pack, ByteRange::of(chunk.offset, chunk.stored_bytes),
                         Freshness::origin);
  if (!again) return remembered(pack, std::move(again).error());
  done = read(again->view()).within("object " + pack_object(pack.id).text());
  if (!done) return remembered(pack, std::move(done).error());
  return done;
}

Result<> verify_chunk(const Manifest& manifest, uint32_t number, std::span<const ChunkUse> files,
                      Bytes content) {
  const ChunkPlace& chunk = manifest.layout.chunks[number];
  if (chunk.kind == ChunkKind::whole) {
    if (is_whole_chunk(chunk, content)) return {};
    return Error(Code::corrupt, "a chunk does not match its digest");
  }
  DigestBatch batch;
  for (const ChunkUse& file : files) {
    batch.add(content.subspan(file.extent.chunk_offset, file.extent.length));
  }
  const std::vector<Digest> digests = batch.finish();
  for (size_t i = 0; i < files.size(); ++i) {
    if (digests[i] != manifest.tree.contents[files[i].content].digest) {
      return Error(Code::corrupt, "a file in a bundle does not match its digest");
    }
  }
  return {};
}

}  // namespace thaw
