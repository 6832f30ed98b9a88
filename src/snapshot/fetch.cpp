#include "snapshot/fetch.h"

#include <memory>

#include "base/task_group.h"
#include "snapshot/frame_fetch.h"

namespace thaw {
namespace {

// One fetch of a plan, step by step.
class Fetcher {
 public:
  Fetcher(ObjectStore& store, const Manifest& manifest, const FetchPlan& plan,
          const TransferLimits& limits, const KnownDamage& damage, const ChunkSink& sink)
      : manifest_(manifest),
        plan_(plan),
        sink_(sink),
        allowance_(limits),
        frames_(store, manifest.layout, damage, allowance_) {}

  Result<> run(const Context& context, unsigned threads) {
    TaskGroup decoding(context, threads, 2 * size_t{threads} + 2);
    const auto ranges = plan_.ranges();
    auto fetched =
        parallel_for(decoding.context(), allowance_.most_fetches, ranges.size(),
                     [&](const Context& inner, unsigned, size_t index) -> Result<> {
                       const FetchRange& range = ranges[index];
                       THAW_ASSIGN(auto got, frames_.fetch(inner, range));
                       // Kept until the last frame in it is decoded.
                       const auto bytes = std::make_shared<FrameFetch::Fetched>(std::move(got));
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
  // One frame of what was fetched.
  Result<> take(const Context& context, uint32_t number, const FetchRange& range,
                const FrameFetch::Fetched& fetched) {
    const ChunkPlace& chunk = manifest_.layout.chunks[number];
    return frames_.read_frame(
        context, number,
        fetched.bytes.view().subspan(chunk.offset - range.offset, chunk.stored_bytes),
        [&](Bytes stored) -> Result<> {
          DecoderPool::Loan decoder(allowance_.decoders);
          THAW_ASSIGN(const Bytes content,
                      decoder->decode(chunk.codec, stored, chunk.content_bytes));
          THAW_CHECK(verify_chunk(manifest_, number, plan_.uses(number), content));
          return sink_(context, number, content);
        });
  }

  const Manifest& manifest_;
  const FetchPlan& plan_;
  const ChunkSink& sink_;
  FetchAllowance allowance_;
  FrameFetch frames_;
};

}  // namespace

Result<> fetch_chunks(const Context& context, ObjectStore& store, const Manifest& manifest,
                      const FetchPlan& plan, const TransferLimits& limits, unsigned threads,
                      const KnownDamage& damage, const ChunkSink& sink) {
  return Fetcher(store, manifest, plan, limits, damage, sink).run(context, threads);
}

}  // namespace thaw
