#include "snapshot/fetch.h"

#include <fmt/format.h>

#include <memory>
#include <mutex>
#include <vector>

#include "base/byte_budget.h"
#include "base/log.h"
#include "base/task_group.h"
#include "snapshot/catalog.h"

namespace thaw {
namespace {

// Decoders that wait for their next frame, so that as many exist as threads and no more.
class DecoderPool {
 public:
  std::unique_ptr<FrameDecoder> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<FrameDecoder>();
    auto decoder = std::move(idle_.back());
    idle_.pop_back();
    return decoder;
  }
  void give_back(std::unique_ptr<FrameDecoder> decoder) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(decoder));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<FrameDecoder>> idle_;
};

// What was fetched, kept until the last frame in it is decoded.
struct FetchedRange {
  Buffer bytes;
  ByteBudget::Reservation reservation;
};

// One hash over a whole chunk; file by file in a bundle, and there only the files in use.
Result<> verify_chunk(const Manifest& manifest, const FetchPlan& plan, uint32_t number,
                      Bytes content) {
  const ChunkPlace& chunk = manifest.layout.chunks[number];
  if (chunk.kind == ChunkKind::whole) {
    if (chunk_digest(content) == chunk.digest) return {};
    return Error(Code::corrupt, "a chunk does not match its digest");
  }
  const auto uses = plan.uses(number);
  std::vector<Bytes> files;
  files.reserve(uses.size());
  for (const ChunkUse& use : uses) {
    files.push_back(content.subspan(use.extent.chunk_offset, use.extent.length));
  }
  std::vector<Digest> digests(files.size());
  sha256_each(files, digests);
  for (size_t i = 0; i < uses.size(); ++i) {
    if (digests[i] != manifest.tree.contents[uses[i].content].digest) {
      return Error(Code::corrupt, "a file in a bundle does not match its digest");
    }
  }
  return {};
}

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

// One fetch of a plan, step by step.
class Fetcher {
 public:
  Fetcher(ObjectStore& store, const Manifest& manifest, const FetchPlan& plan,
          const TransferLimits& limits, const KnownDamage& damage, const ChunkSink& sink)
      : store_(store),
        manifest_(manifest),
        plan_(plan),
        limits_(limits),
        damage_(damage),
        sink_(sink),
        gate_(limits.first_fetches, limits.most_fetches),
        budget_(limits.fetch_budget_bytes) {}

  Result<> run(const Context& context, unsigned threads) {
    TaskGroup decoding(context, threads, 2 * size_t{threads} + 2);
    const auto ranges = plan_.ranges();
    auto fetched =
        parallel_for(decoding.context(), limits_.most_fetches, ranges.size(),
                     [&](const Context& inner, unsigned, size_t index) -> Result<> {
                       const FetchRange& range = ranges[index];
                       THAW_ASSIGN(const auto bytes, fetch(inner, range));
                       for (const uint32_t number : plan_.frames(range)) {
                         decoding.submit([this, number, bytes, &range](const Context& task) {
                           return take(task, number, range, *bytes);
                         });
                       }
                       return {};
                     });
    auto decoded = decoding.wait();
    // A failed decoder stops the fetchers: its error is the cause, theirs only says "stopped".
    if (!decoded && decoded.error().code() != Code::cancelled) return decoded;
    if (!fetched) return fetched;
    return decoded;
  }

 private:
  Result<std::shared_ptr<FetchedRange>> fetch(const Context& context, const FetchRange& range) {
    auto fetched = std::make_shared<FetchedRange>();
    THAW_ASSIGN(fetched->reservation, budget_.reserve(context, range.length));
    THAW_CHECK(gate_.enter(context));
    const PackRef& pack = manifest_.layout.packs[range.pack];
    const ByteRange wanted = ByteRange::of(range.offset, range.length);
    auto bytes = get_bytes(context, store_, pack, wanted, Freshness::any);
    if (!bytes && bytes.error().code() == Code::corrupt) {
      bytes = get_bytes(context, store_, pack, wanted, Freshness::origin);
    }
    gate_.leave(range.length, !bytes && bytes.error().retryable());
    if (!bytes) return remembered(pack, std::move(bytes).error());
    fetched->bytes = *std::move(bytes);
    return fetched;
  }

  // One frame of what was fetched.
  Result<> take(const Context& context, uint32_t number, const FetchRange& range,
                const FetchedRange& fetched) {
    const ChunkPlace& chunk = manifest_.layout.chunks[number];
    auto done =
        decode(context, number,
               fetched.bytes.view().subspan(chunk.offset - range.offset, chunk.stored_bytes));
    if (done || done.error().code() != Code::corrupt) return done;
    const PackRef& pack = manifest_.layout.packs[chunk.pack];
    log::warn("object {}, {} bytes at {}: {}; read once more", pack_object(pack.id).text(),
              chunk.stored_bytes, chunk.offset, done.error().text());
    auto again = get_bytes(context, store_, pack, ByteRange::of(chunk.offset, chunk.stored_bytes),
                           Freshness::origin);
    if (!again) return remembered(pack, std::move(again).error());
    done = decode(context, number, again->view()).within("object " + pack_object(pack.id).text());
    if (!done) return remembered(pack, std::move(done).error());
    return done;
  }

  Error remembered(const PackRef& pack, Error error) const {
    if (error.code() == Code::corrupt) damage_.remember(pack.id);
    return error;
  }

  Result<> decode(const Context& context, uint32_t number, Bytes stored) {
    const ChunkPlace& chunk = manifest_.layout.chunks[number];
    auto decoder = decoders_.take();
    auto done = [&]() -> Result<> {
      THAW_ASSIGN(const Bytes content, decoder->decode(chunk.codec, stored, chunk.content_bytes));
      THAW_CHECK(verify_chunk(manifest_, plan_, number, content));
      return sink_(context, number, content);
    }();
    decoders_.give_back(std::move(decoder));
    return done;
  }

  ObjectStore& store_;
  const Manifest& manifest_;
  const FetchPlan& plan_;
  const TransferLimits& limits_;
  const KnownDamage& damage_;
  const ChunkSink& sink_;
  TransferGate gate_;
  ByteBudget budget_;
  DecoderPool decoders_;
};

}  // namespace

Result<> fetch_chunks(const Context& context, ObjectStore& store, const Manifest& manifest,
                      const FetchPlan& plan, const TransferLimits& limits, unsigned threads,
                      const KnownDamage& damage, const ChunkSink& sink) {
  return Fetcher(store, manifest, plan, limits, damage, sink).run(context, threads);
}

}  // namespace thaw
