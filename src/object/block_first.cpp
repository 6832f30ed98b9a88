#include "object/block_first.h"

#include <algorithm>
#include <thread>

#include "base/log.h"
#include "object/contract.h"
#include "object/tier_patience.h"

namespace thaw {
namespace {

using std::chrono::milliseconds;

class FirstRead {
 public:
  FirstRead(const Context& context, const TierParts& parts, const ObjectKey& key,
            const ByteRange& range)
      : context_(context),
        parts_(parts),
        key_(key),
        range_(range),
        block_bytes_(parts.options.block_bytes),
        first_(range.offset / block_bytes_) {}

  Result<Fetched> run();

 private:
  // Who may take the version from the answer.
  enum class Right { none, to_answer, to_fill };

  Result<Fetched> as_without_tier() const {
    return parts_.slow.get(context_, key_, range_, Wanted::first());
  }
  Result<Fetched> in_the_version_below() const;
  Result<Right> try_alone(const BlockNames& names);
  Result<bool> claims_it(const BlockNames& names);
  bool holds_nothing(const BlockNames& names) const;
  Result<Fetched> fetch_blocks();

  const Context& context_;
  const TierParts& parts_;
  const ObjectKey& key_;
  const ByteRange range_;
  const uint64_t block_bytes_;
  const uint64_t first_;
  std::unique_ptr<BlockClaims::Claim> claim_;
};

Result<Fetched> FirstRead::run() {
  const auto names = BlockNames::of_all_versions(parts_.options.store_name, key_);
  if (!names) return as_without_tier();
  THAW_ASSIGN(const Right right, try_alone(*names));
  switch (right) {
    case Right::none:
      break;
    case Right::to_answer:
      return as_without_tier();
    case Right::to_fill:
      return fetch_blocks();
  }
  return in_the_version_below();
}

// A look into a directory costs nothing, one into a bucket as much as it could save.
Result<FirstRead::Right> FirstRead::try_alone(const BlockNames& names) {
  if (parts_.claims == nullptr) return Right::none;
  if (!parts_.fills.active()) return holds_nothing(names) ? Right::to_answer : Right::none;
  const uint64_t end = range_.offset + std::min(range_.length, UINT64_MAX - range_.offset);
  if (end - first_ * block_bytes_ > std::max(kTierFetchBytes, block_bytes_)) return Right::none;
  THAW_ASSIGN(const bool alone, claims_it(names));
  if (alone && holds_nothing(names)) return Right::to_fill;
  claim_.reset();
  return Right::none;
}

// Readers that begin at the same moment: one fetches, and the others find what it has kept.
Result<bool> FirstRead::claims_it(const BlockNames& names) {
  constexpr milliseconds kLongest{20};
  const std::string name = names.block(first_).text();
  const auto until = Context::Clock::now() + patience(context_, parts_.options.claim_wait);
  for (milliseconds pause{2};; pause = std::min(pause * 2, kLongest)) {
    auto claim = parts_.claims->try_claim(name);
    if (!claim) {
      log::info("claim a block: {}", claim.error().text());
      return false;
    }
    if (*claim) {
      claim_ = *std::move(claim);
      return true;
    }
    if (Context::Clock::now() >= until) return false;
    std::this_thread::sleep_for(std::min(pause, context_.remaining().value_or(pause)));
    THAW_CHECK(context_.alive());
  }
}

bool FirstRead::holds_nothing(const BlockNames& names) const {
  ListOptions one;
  one.limit = 1;
  const Context limited = context_.within(patience(context_, parts_.options.read_timeout));
  const auto page = parts_.fast.list(limited, names.prefix(), one);
  return page && page->objects.empty();
}

Result<Fetched> FirstRead::fetch_blocks() {
  parts_.fills.prepare();
  const uint64_t end = range_.offset + range_.length;
  const uint64_t count = (end - 1) / block_bytes_ - first_ + 1;
  const ByteRange blocks = ByteRange::of(first_ * block_bytes_, count * block_bytes_);
  auto fetched = parts_.slow.get(context_, key_, blocks, Wanted::first());
  // Past the end, by the store's word: it shall answer the range that was asked for.
  if (!fetched && fetched.error().code() == Code::invalid) return as_without_tier();
  if (!fetched) return std::move(fetched).error();
  THAW_CHECK(check_fetched(parts_, key_, blocks, *fetched));
  const ObjectInfo& info = fetched->info;
  const ObjectVersion version{info.etag, info.size_bytes};
  auto names = BlockNames::of(parts_.options.store_name, key_, version, parts_.options.block_bytes);
  if (names) {
    const TieredObject object{key_, *std::move(names), parts_.options.block_bytes, info.etag,
                              info.size_bytes};
    std::vector<BlockFill> fills = fills_of(object, first_, *fetched);
    // Held until all are written: who waits for it then finds the one that it wants.
    if (!fills.empty()) fills.back().claim = std::move(claim_);
    parts_.fills.add(std::move(fills), fetched->bytes.size());
  }
  THAW_ASSIGN(const Piece piece, piece_of(range_, info.size_bytes));
  return Fetched{fetched->bytes.slice(piece.offset - blocks.offset, piece.length), info};
}

Result<Fetched> FirstRead::in_the_version_below() const {
  THAW_ASSIGN(const auto info, parts_.slow.find(context_, key_));
  if (!info) return Error(Code::not_found, "get " + key_.text() + ": no such object");
  const ObjectVersion version{info->etag, info->size_bytes};
  auto names = BlockNames::of(parts_.options.store_name, key_, version, parts_.options.block_bytes);
  if (!names) return as_without_tier();
  const TieredObject object{key_, *std::move(names), parts_.options.block_bytes, info->etag,
                            info->size_bytes};
  auto got = read_through(context_, parts_, object, range_, Wanted(Freshness::any, version));
  // Another one came in its place meanwhile, and that will do.
  if (!got && got.error().code() == Code::not_found) return as_without_tier();
  return got;
}

}  // namespace

Result<Fetched> read_first(const Context& context, const TierParts& parts, const ObjectKey& key,
                           const ByteRange& range) {
  return FirstRead(context, parts, key, range).run();
}

}  // namespace thaw
