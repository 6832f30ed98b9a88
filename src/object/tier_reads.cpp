#include "object/tier_reads.h"

#include <algorithm>

#include "base/log.h"
#include "object/tier_patience.h"

namespace thaw {
namespace {

// A read that begins this near to the header takes both in one request.
constexpr uint32_t kNearBytes = 4 * kTierPieceBytes;
constexpr size_t kHeaders = 2048;  // at most twice as many, of 700 bytes for blocks of 4 MiB

Error corrupt(const char* what) { return {Code::corrupt, std::string("tier block: ") + what}; }

// Whole pieces that cover [from, to) of a block's data.
struct Pieces {
  uint32_t from;
  uint32_t to;
};
Pieces pieces_around(uint32_t from, uint32_t to, uint32_t data_bytes) {
  const uint32_t start = from / kTierPieceBytes * kTierPieceBytes;
  const uint64_t end = (uint64_t{to} + kTierPieceBytes - 1) / kTierPieceBytes * kTierPieceBytes;
  return {std::min(start, data_bytes), static_cast<uint32_t>(std::min<uint64_t>(end, data_bytes))};
}

TierBlock expected(const TieredObject& object, uint64_t number) {
  TierBlock block;
  block.object = object.key.text();
  block.etag = object.etag;
  block.number = number;
  block.object_bytes = object.object_bytes.value_or(UINT64_MAX);
  block.full_bytes = object.block_bytes;
  return block;
}

Result<> check_identity(const TierBlock& block, const TieredObject& object, uint64_t number) {
  const bool same = block.object == object.key.text() && block.etag == object.etag &&
                    block.number == number && block.full_bytes == object.block_bytes &&
                    (!object.object_bytes || block.object_bytes == *object.object_bytes);
  return same ? Result<>() : corrupt("it is another block than its name says");
}

// From the pieces' bytes, the data from `first` on, to those that were asked for.
Result<TierHit> hit_of(const TierBlockHeader& header, const Buffer& data, uint32_t first,
                       uint32_t from, uint32_t to) {
  if (!pieces_match(header, first / kTierPieceBytes, data.view())) {
    return corrupt("its data does not match its sums");
  }
  const uint32_t start = std::min(from, header.data_bytes);
  const uint32_t end = std::min(to, header.data_bytes);
  const TierBlock& block = header.block;
  return TierHit{end > start ? data.slice(start - first, end - start) : Buffer(),
                 {block.object_bytes, block.etag, Timestamp{block.modified_ns}}};
}

}  // namespace

// --- headers

TierReads::Header TierReads::Headers::find(const std::string& block) {
  const std::lock_guard lock(mutex_);
  const auto young = young_.find(block);
  if (young != young_.end()) return young->second;
  const auto old = old_.find(block);
  return old == old_.end() ? nullptr : old->second;
}

void TierReads::Headers::keep(const std::string& block, Header header) {
  const std::lock_guard lock(mutex_);
  if (young_.size() >= kHeaders) old_ = std::exchange(young_, {});
  young_.insert_or_assign(block, std::move(header));
}

void TierReads::Headers::forget(const std::string& block) {
  const std::lock_guard lock(mutex_);
  young_.erase(block);
  old_.erase(block);
}

// --- reads

Result<std::optional<TierHit>> TierReads::look(const Context& context, const TieredObject& object,
                                               uint64_t number, uint32_t from, uint32_t to) {
  using Outcome = TierBreaker::Outcome;
  const auto start = Context::Clock::now();
  const TierBreaker::Permit permit = breaker_.enter(start);
  if (permit == TierBreaker::Permit::no) {
    meter_.stepped_over.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
  const ObjectKey block = object.names.block(number);
  const Context limited = context.within(patience(context, options_.read_timeout));
  auto hit = read(limited, object, block, number, from, to);
  const auto end = Context::Clock::now();
  if (hit) {
    breaker_.settle(permit, Outcome::hit, end);
    meter_.hits.fetch_add(1, std::memory_order_relaxed);
    meter_.hit_bytes.fetch_add(hit->bytes.size(), std::memory_order_relaxed);
    meter_.hit_latency.add(end - start);
    notes_.touched(block);
    return *std::move(hit);
  }
  if (hit.error().code() == Code::not_found) {
    breaker_.settle(permit, Outcome::absent, end);
    return std::nullopt;
  }
  const bool is_corrupt = hit.error().code() == Code::corrupt;
  if (auto alive = context.alive(); !alive && !is_corrupt) {
    breaker_.settle(permit, Outcome::unknown, end);
    return std::move(alive).error();
  }
  breaker_.settle(permit, Outcome::failed, end);
  if (is_corrupt) {
    meter_.corrupt.fetch_add(1, std::memory_order_relaxed);
    log::warn("{}: {}: {}; fetched anew", fast_.describe(), block.text(), hit.error().text());
    remove(context, std::span(&block, 1));
  } else {
    meter_.failures.fetch_add(1, std::memory_order_relaxed);
    log::info("{}: {}", fast_.describe(), hit.error().text());
  }
  return std::nullopt;
}

Result<TierHit> TierReads::read(const Context& context, const TieredObject& object,
                                const ObjectKey& name, uint64_t number, uint32_t from,
                                uint32_t to) {
  const TierBlock wanted = expected(object, number);
  if (!is_valid(wanted)) return Error(Code::not_found, "the object has no such block");
  if (const Header known = headers_.find(name.text())) {
    THAW_CHECK(check_identity(known->block, object, number));
    return read_data(context, name, *known, from, to);
  }
  const uint32_t header_bytes = header_bytes_of(wanted);
  const Pieces pieces = pieces_around(from, to, data_bytes_of(wanted));
  uint64_t length = header_bytes;
  if (!options_.reads_pieces) {
    length += wanted.full_bytes;
  } else if (pieces.from <= kNearBytes) {
    length += pieces.to;
  }
  THAW_ASSIGN(const Fetched front,
              fast_.get(context, name, ByteRange::of(0, length), Freshness::any));
  THAW_ASSIGN(TierBlockHeader parsed, parse_tier_header(front.bytes.view()));
  THAW_CHECK(check_identity(parsed.block, object, number));
  if (front.info.size_bytes != uint64_t{parsed.header_bytes} + parsed.data_bytes) {
    return corrupt("it is cut off, or longer than it says");
  }
  const auto header = std::make_shared<const TierBlockHeader>(std::move(parsed));
  headers_.keep(name.text(), header);
  const Pieces here = pieces_around(from, to, header->data_bytes);
  const uint64_t first = uint64_t{header->header_bytes} + here.from;
  const uint32_t data = here.to - here.from;
  if (first + data > front.bytes.size()) return read_data(context, name, *header, from, to);
  return hit_of(*header, front.bytes.slice(first, data), here.from, from, to);
}

Result<TierHit> TierReads::read_data(const Context& context, const ObjectKey& block,
                                     const TierBlockHeader& header, uint32_t from, uint32_t to) {
  const Pieces pieces = pieces_around(from, to, header.data_bytes);
  const uint32_t length = pieces.to - pieces.from;
  const auto range = ByteRange::of(uint64_t{header.header_bytes} + pieces.from, length);
  const auto data = fast_.get(context, block, range, Freshness::any);
  if (!data) {
    if (data.error().code() == Code::not_found) headers_.forget(block.text());
    if (data.error().code() == Code::invalid) return corrupt("it is cut off");
    return data.error();
  }
  if (data->info.size_bytes != uint64_t{header.header_bytes} + header.data_bytes ||
      data->bytes.size() != length) {
    return corrupt("it is cut off, or longer than it says");
  }
  return hit_of(header, data->bytes, pieces.from, from, to);
}

TierReads::Extra::Extra(TierReads& reads, unsigned wanted) : reads_(reads) {
  unsigned left = reads_.extra_.load(std::memory_order_relaxed);
  do {
    count_ = std::min(wanted, left);
  } while (!reads_.extra_.compare_exchange_weak(left, left - count_, std::memory_order_relaxed));
}

void TierReads::remove(const Context& context, std::span<const ObjectKey> blocks) {
  for (const ObjectKey& block : blocks) headers_.forget(block.text());
  const Context limited = context.within(patience(context, options_.read_timeout));
  const auto removed = fast_.remove(limited, blocks);
  if (!removed) {
    log::info("{}: {}", fast_.describe(), removed.error().text());
    return;
  }
  for (const ObjectKey& block : blocks) notes_.evicted(block);
}

}  // namespace thaw
