#include "snapshot/fetch.h"

#include <fmt/format.h>

#include <memory>
#include <mutex>
#include <vector>

#include "base/task_group.h"
#include "snapshot/catalog.h"

namespace thaw {
namespace {

// Fetches in flight while decoders work: two hide a local disk's latency.
constexpr unsigned kFetchers = 2;

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
    if (sha256(content) == chunk.digest) return {};
    return Error(Code::corrupt, "a chunk does not match its digest");
  }
  for (const ChunkUse& use : plan.uses(number)) {
    const Bytes file = content.subspan(use.extent.chunk_offset, use.extent.length);
    if (sha256(file) != manifest.tree.contents[use.content].digest) {
      return Error(Code::corrupt, "a file in a bundle does not match its digest");
    }
  }
  return {};
}

Result<std::shared_ptr<FetchedRange>> fetch(const Context& context, ObjectStore& store,
                                            const PackRef& pack, const FetchRange& range,
                                            ByteBudget& budget) {
  auto fetched = std::make_shared<FetchedRange>();
  THAW_ASSIGN(fetched->reservation, budget.reserve(context, range.length));
  const ObjectKey object = pack_object(pack.id);
  auto got = store.get(context, object, ByteRange::of(range.offset, range.length), Freshness::any);
  if (!got && got.error().code() == Code::not_found) {
    return Error(Code::corrupt,
                 "object " + object.text() + " is missing, and the snapshot needs it");
  }
  if (!got && got.error().code() == Code::invalid) {
    return Error(Code::corrupt, "object " + object.text() + " is cut off");
  }
  if (!got) return std::move(got).error();
  if (got->bytes.size() != range.length) {
    return Error(Code::corrupt, "object " + object.text() + " is cut off");
  }
  fetched->bytes = std::move(got->bytes);
  return fetched;
}

}  // namespace

Result<> fetch_chunks(const Context& context, ObjectStore& store, const Manifest& manifest,
                      const FetchPlan& plan, ByteBudget& budget, unsigned threads,
                      const ChunkSink& sink) {
  const Layout& layout = manifest.layout;
  DecoderPool decoders;
  auto decode = [&](const Context& inner, uint32_t number, const FetchedRange& range,
                    size_t offset) -> Result<> {
    const ChunkPlace& chunk = layout.chunks[number];
    auto decoder = decoders.take();
    auto done = [&]() -> Result<> {
      THAW_ASSIGN(
          const Bytes content,
          decoder->decode(chunk.codec, range.bytes.view().subspan(offset, chunk.stored_bytes),
                          chunk.content_bytes));
      THAW_CHECK(verify_chunk(manifest, plan, number, content));
      return sink(inner, number, content);
    }();
    decoders.give_back(std::move(decoder));
    return done;
  };

  TaskGroup decoding(context, threads, 2 * size_t{threads} + 2);
  const auto ranges = plan.ranges();
  auto fetched = parallel_for(
      decoding.context(), kFetchers, ranges.size(),
      [&](const Context& inner, unsigned, size_t index) -> Result<> {
        const FetchRange& range = ranges[index];
        THAW_ASSIGN(const std::shared_ptr<FetchedRange> bytes,
                    fetch(inner, store, layout.packs[range.pack], range, budget));
        for (const uint32_t number : plan.frames(range)) {
          const size_t offset = layout.chunks[number].offset - range.offset;
          decoding.submit([&decode, &layout, number, bytes, offset](const Context& task) {
            auto done = decode(task, number, *bytes, offset);
            if (!done && done.error().code() == Code::corrupt) {
              const RandomId& pack = layout.packs[layout.chunks[number].pack].id;
              return std::move(done).within("object " + pack_object(pack).text());
            }
            return done;
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

}  // namespace thaw
