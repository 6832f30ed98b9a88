#include "snapshot/chunk_supply.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/task_group.h"

namespace thaw {

ChunkSupply::Claims ChunkSupply::claim(std::span<const uint32_t> chunks) {
  Claims claims;
  const std::lock_guard lock(mutex_);
  for (const uint32_t chunk : chunks) {
    // A flight ends after its chunk was put on the shelf: under the lock one of them is seen.
    if (Buffer content = shelf_.find(chunk); !content.empty()) {
      claims.held.emplace_back(chunk, std::move(content));
      continue;
    }
    auto& flight = flights_[chunk];
    if (flight != nullptr) {
      claims.others.push_back({chunk, flight});
      continue;
    }
    flight = std::make_shared<ChunkFlight>();
    claims.own.push_back({chunk, flight});
  }
  return claims;
}

void ChunkSupply::end(Claimed& claimed, Result<Buffer> outcome) {
  claimed.ended = true;
  {
    const std::lock_guard lock(mutex_);
    flights_.erase(claimed.chunk);
  }
  claimed.flight->finish(std::move(outcome));
}

Result<> ChunkSupply::obtain(const Context& context, std::vector<uint32_t> chunks, const Use& use) {
  LeaderFailures failures;
  while (!chunks.empty()) {
    Claims claims = claim(chunks);
    chunks.clear();
    for (const auto& [chunk, content] : claims.held) use(chunk, content);
    claims.held.clear();
    // Its own before the others', so that nobody waits for this thread while it waits for them.
    THAW_CHECK(fetch(context, std::move(claims.own), use));
    std::optional<Error> failed;
    for (const Claimed& other : claims.others) {
      THAW_CHECK(other.flight->wait(context));
      const Result<Buffer>& outcome = other.flight->outcome();
      if (outcome) {
        use(other.chunk, *outcome);
        continue;
      }
      chunks.push_back(other.chunk);
      // What failed for a reason of its leader's own says nothing to the others.
      if (!failed || failed->code() == Code::cancelled || failed->code() == Code::timeout) {
        failed = outcome.error();
      }
    }
    if (failed && failures.add(*failed)) return *std::move(failed);
  }
  return {};
}

Result<> ChunkSupply::fetch_ahead(const Context& context, std::span<const uint32_t> chunks) {
  return fetch(context, claim(chunks).own, [](uint32_t, const Buffer&) {});
}

Result<> ChunkSupply::fetch(const Context& context, std::vector<Claimed> claims, const Use& use) {
  if (claims.empty()) return {};
  std::vector<uint32_t> chunks;
  chunks.reserve(claims.size());
  for (const Claimed& each : claims) chunks.push_back(each.chunk);
  const Layout& layout = manifest_.layout;
  sort_by_place(layout, chunks);
  // The claims in the same order.
  std::sort(claims.begin(), claims.end(),
            [](const Claimed& a, const Claimed& b) { return a.chunk < b.chunk; });
  std::vector<Claimed> placed;
  placed.reserve(claims.size());
  for (const uint32_t chunk : chunks) {
    placed.push_back(*std::lower_bound(
        claims.begin(), claims.end(), chunk,
        [](const Claimed& claimed, uint32_t number) { return claimed.chunk < number; }));
  }
  const std::vector<FetchRange> ranges = join_frames(layout, chunks, Joining::one_read);
  auto done = parallel_for(context, frames_.allowance().most_fetches, ranges.size(),
                           [&](const Context& inner, unsigned, size_t index) {
                             const FetchRange& range = ranges[index];
                             const auto own =
                                 std::span(placed).subspan(range.first_frame, range.frame_count);
                             auto fetched = fetch_range(inner, range, own, use);
                             if (fetched) return fetched;
                             for (Claimed& each : own) {
                               if (!each.ended) end(each, fetched.error());
                             }
                             return fetched;
                           });
  // Those of ranges that were not begun any more.
  for (Claimed& each : placed) {
    if (!each.ended) end(each, Error(Code::cancelled, "the fetch was given up"));
  }
  return done;
}

Result<> ChunkSupply::fetch_range(const Context& context, const FetchRange& range,
                                  std::span<Claimed> claims, const Use& use) {
  const Layout& layout = manifest_.layout;
  uint64_t largest = 0;
  for (const Claimed& each : claims) {
    largest = std::max<uint64_t>(largest, layout.chunks[each.chunk].content_bytes);
  }
  THAW_ASSIGN(const FrameFetch::Fetched fetched, frames_.fetch(context, range, largest));
  for (Claimed& each : claims) {
    THAW_CHECK(context.alive());
    const ChunkPlace& chunk = layout.chunks[each.chunk];
    THAW_ASSIGN(Buffer content, decode(context, each.chunk,
                                       fetched.bytes.view().subspan(chunk.offset - range.offset,
                                                                    chunk.stored_bytes)));
    shelf_.keep(each.chunk, content);
    end(each, content);
    use(each.chunk, content);
  }
  return {};
}

Result<Buffer> ChunkSupply::decode(const Context& context, uint32_t number, Bytes stored) {
  const ChunkPlace& chunk = manifest_.layout.chunks[number];
  ByteVector content(chunk.content_bytes);
  THAW_CHECK(frames_.read_frame(context, number, stored, [&](Bytes bytes) -> Result<> {
    DecoderPool::Loan decoder(frames_.allowance().decoders);
    THAW_CHECK(decoder->decode_into(chunk.codec, bytes, content.span()));
    return verify_chunk(
        manifest_, number,
        chunk.kind == ChunkKind::bundle ? files_in(number) : std::span<const ChunkUse>(),
        content.view());
  }));
  return Buffer(std::move(content));
}

std::span<const ChunkUse> ChunkSupply::files_in(uint32_t bundle) {
  std::call_once(files_made_, [this] {
    const Layout& layout = manifest_.layout;
    // A file in a bundle is one extent.
    auto each_file = [&](const auto& take) {
      for (uint32_t content = 0; content < layout.contents.size(); ++content) {
        const auto extents = layout.extents_of(content);
        if (extents.size() != 1) continue;
        const Extent& extent = extents.front();
        if (layout.chunks[extent.chunk].kind == ChunkKind::bundle) take(content, extent);
      }
    };
    files_begin_.assign(layout.chunks.size() + 1, 0);
    each_file([&](uint32_t, const Extent& extent) { ++files_begin_[extent.chunk + 1]; });
    std::partial_sum(files_begin_.begin(), files_begin_.end(), files_begin_.begin());
    files_.resize(files_begin_.back());
    std::vector<uint32_t> next(files_begin_.begin(), files_begin_.end() - 1);
    each_file([&](uint32_t content, const Extent& extent) {
      files_[next[extent.chunk]++] = {content, extent};
    });
  });
  return std::span(files_).subspan(files_begin_[bundle],
                                   files_begin_[bundle + 1] - files_begin_[bundle]);
}

}  // namespace thaw
