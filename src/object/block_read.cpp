#include "object/block_read.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/task_group.h"
#include "object/contract.h"
#include "object/tier_patience.h"

namespace thaw {
namespace {

using std::chrono::milliseconds;
using Landing = BlockFlights::Landing;

// A block that the read needs.
struct Slot {
  uint64_t number;
  ObjectKey name;  // in the tier
  uint32_t from;   // of its data
  uint32_t to;
  bool done = false;
  uint64_t landed = 0;  // flights of it, when the tier was last looked at
  unsigned failed = 0;  // flights of it that failed while this read waited
  BlockFlights::Seat seat{};
  std::unique_ptr<BlockClaims::Claim> claim{};
};
using Run = std::span<Slot*>;

uint64_t sum_or_most(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

bool is_final(Code code) {
  return code == Code::not_found || code == Code::denied || code == Code::invalid;
}

class BlockRead {
 public:
  BlockRead(const Context& context, const TierParts& parts, TieredObject object,
            const ByteRange& range, const Wanted& wanted)
      : context_(context),
        parts_(parts),
        object_(std::move(object)),
        range_(range),
        wanted_(wanted),
        block_bytes_(object_.block_bytes) {}

  Result<Fetched> run();

 private:
  struct Part {
    uint64_t offset;
    Buffer bytes;
  };

  // The store below answers as if there were no tier.
  Result<Fetched> past_the_tier() const {
    return parts_.slow.get(context_, object_.key, range_, wanted_);
  }
  Result<> read_window(uint64_t at, uint64_t end);
  std::vector<Slot> slots_of(uint64_t at, uint64_t end) const;
  Result<> look_up(std::vector<Slot>& slots);
  Result<bool> look(Slot& slot);
  Result<> look_at_once(std::span<Slot* const> open);
  bool look_nearby(Slot& slot);
  Result<> fetch_led(std::vector<Slot>& slots);
  Result<> wait_for_claims(std::vector<Slot*> others);
  Result<> fetch_all(std::span<Slot* const> wanted);
  Result<> fetch(Run run);
  Result<Fetched> fetch_below(uint64_t first, uint64_t count) const;
  void land(Run run, const Fetched& fetched);
  void fill(Run run, const Fetched& fetched);
  static void land_error(const Context& context, Run run, const Error& error);
  Result<> wait_for_others(std::vector<Slot>& slots);
  void take(Slot& slot, Buffer bytes, const ObjectInfo& info);
  bool learn(const ObjectInfo& info);
  Buffer slice_of(const Slot& slot, const Buffer& block) const;
  Result<Fetched> answer();

  const Context& context_;
  const TierParts& parts_;
  TieredObject object_;
  const ByteRange range_;
  const Wanted& wanted_;
  const uint64_t block_bytes_;
  std::optional<ObjectInfo> info_;
  std::vector<Part> got_;
  // Set when blocks contradict one another, or the range lies past the end.
  bool give_up_ = false;
};

Result<Fetched> BlockRead::run() {
  uint64_t end = sum_or_most(range_.offset, range_.length);
  uint64_t at = range_.offset;
  // An offset at the end or past it: the answer is not in any block.
  if (object_.object_bytes && at >= *object_.object_bytes) return past_the_tier();
  while (at < end) {
    uint64_t blocks = std::max<uint64_t>(kTierFetchBytes / block_bytes_, 1);
    // Where the end is not known, the first block tells.
    if (!object_.object_bytes && range_.length == UINT64_MAX) blocks = 1;
    const uint64_t start = at / block_bytes_ * block_bytes_;
    const uint64_t window_end = std::min(end, sum_or_most(start, blocks * block_bytes_));
    THAW_CHECK(read_window(at, window_end));
    if (give_up_ || !object_.object_bytes || range_.offset >= *object_.object_bytes) {
      return past_the_tier();
    }
    end = std::min(end, *object_.object_bytes);
    at = window_end;
  }
  return answer();
}

Result<> BlockRead::read_window(uint64_t at, uint64_t end) {
  std::vector<Slot> slots = slots_of(at, end);
  while (!give_up_) {
    THAW_CHECK(context_.alive());
    THAW_CHECK(look_up(slots));
    const bool some_lack =
        std::any_of(slots.begin(), slots.end(), [](const Slot& slot) { return !slot.done; });
    if (some_lack && !parts_.fills.keeps()) {
      give_up_ = true;
      break;
    }
    bool all = true;
    for (Slot& slot : slots) {
      if (!slot.done) slot.seat = parts_.flights.join(slot.name.text(), slot.landed);
      all = all && slot.done;
    }
    if (all) break;
    // Nobody waits before all that it leads has landed.
    THAW_CHECK(fetch_led(slots));
    THAW_CHECK(wait_for_others(slots));
  }
  return {};
}

std::vector<Slot> BlockRead::slots_of(uint64_t at, uint64_t end) const {
  if (object_.object_bytes) end = std::min(end, *object_.object_bytes);
  std::vector<Slot> slots;
  const uint64_t last = (end - 1) / block_bytes_;
  for (uint64_t number = at / block_bytes_; number <= last; ++number) {
    const uint64_t start = number * block_bytes_;
    slots.push_back({.number = number,
                     .name = object_.names.block(number),
                     .from = static_cast<uint32_t>(std::max(at, start) - start),
                     .to = static_cast<uint32_t>(std::min(end - start, block_bytes_))});
  }
  return slots;
}

// --- the tier

Result<> BlockRead::look_up(std::vector<Slot>& slots) {
  std::vector<Slot*> open;
  for (Slot& slot : slots) {
    if (slot.done) continue;
    slot.landed = parts_.flights.landed(slot.name.text());
    if (parts_.options.reads_pieces) {
      THAW_CHECK(look(slot));
    } else if (!look_nearby(slot)) {
      open.push_back(&slot);
    }
  }
  return look_at_once(open);
}

// Where each look is a round trip they are on their way together; but a tier that has not answered
// yet is asked for one.
Result<> BlockRead::look_at_once(std::span<Slot* const> open) {
  while (open.size() > 1 && !parts_.reads.steady()) {
    THAW_CHECK(look(*open.front()));
    open = open.subspan(1);
  }
  std::vector<std::optional<TierHit>> hits(open.size());
  if (open.empty()) return {};
  const TierReads::Extra extra(parts_.reads, static_cast<unsigned>(open.size() - 1));
  THAW_CHECK(parallel_for(context_, 1 + extra.count(), open.size(),
                          [&](const Context& inner, unsigned, size_t i) -> Result<> {
                            const Slot& slot = *open[i];
                            THAW_ASSIGN(hits[i], parts_.reads.look(inner, object_, slot.number,
                                                                   slot.from, slot.to));
                            return {};
                          }));
  for (size_t i = 0; i < open.size(); ++i) {
    if (hits[i]) take(*open[i], std::move(hits[i]->bytes), hits[i]->info);
  }
  return {};
}

// Whether that ends the search for this block.
Result<bool> BlockRead::look(Slot& slot) {
  if (look_nearby(slot)) return true;
  THAW_ASSIGN(auto hit, parts_.reads.look(context_, object_, slot.number, slot.from, slot.to));
  if (!hit) return false;
  take(slot, std::move(hit->bytes), hit->info);
  return true;
}

// The same without asking the tier.
bool BlockRead::look_nearby(Slot& slot) {
  const bool past_the_end =
      object_.object_bytes && info_ && slot.number > (*object_.object_bytes - 1) / block_bytes_;
  if (past_the_end) {
    slot.done = true;
    return true;
  }
  if (const auto pending = parts_.fills.pending(slot.name.text())) {
    parts_.meter.hits.fetch_add(1, std::memory_order_relaxed);
    Buffer bytes = slice_of(slot, pending->bytes);
    parts_.meter.hit_bytes.fetch_add(bytes.size(), std::memory_order_relaxed);
    take(slot, std::move(bytes), pending->info);
    return true;
  }
  return false;
}

// --- what this read fetches

Result<> BlockRead::fetch_led(std::vector<Slot>& slots) {
  const bool claiming = parts_.claims != nullptr && parts_.fills.active();
  std::vector<Slot*> mine;
  std::vector<Slot*> others;
  for (Slot& slot : slots) {
    if (!slot.seat.leads()) continue;
    if (claiming) {
      auto claim = parts_.claims->try_claim(slot.name.text());
      if (!claim) log::info("claim a block: {}", claim.error().text());
      if (claim && !*claim) {
        others.push_back(&slot);
        continue;
      }
      // Another process may have filled it since this one looked.
      if (claim) {
        THAW_ASSIGN(const bool found, look(slot));
        if (found) {
          slot.seat.land({});
          continue;
        }
        slot.claim = *std::move(claim);
      }
    }
    mine.push_back(&slot);
  }
  if (claiming && !mine.empty()) parts_.fills.prepare();
  THAW_CHECK(fetch_all(mine));
  return wait_for_claims(std::move(others));
}

// Other processes fetch these. One that takes too long, or died, is not waited for.
Result<> BlockRead::wait_for_claims(std::vector<Slot*> others) {
  constexpr milliseconds kLongest{20};
  const auto until = Context::Clock::now() + patience(context_, parts_.options.claim_wait);
  milliseconds pause{2};
  while (!others.empty() && !give_up_) {
    const bool late = Context::Clock::now() >= until || !parts_.fills.active();
    if (late) return fetch_all(others);
    std::this_thread::sleep_for(std::min(pause, context_.remaining().value_or(pause)));
    pause = std::min(pause * 2, kLongest);
    THAW_CHECK(context_.alive());
    std::vector<Slot*> left;
    for (Slot* slot : others) {
      auto claim = parts_.claims->try_claim(slot->name.text());
      const bool ours = !claim || *claim;
      THAW_ASSIGN(const bool found, look(*slot));
      if (found) {
        slot->seat.land({});
      } else if (ours) {
        if (claim) slot->claim = *std::move(claim);
        THAW_CHECK(fetch_all(std::span(&slot, 1)));
      } else {
        left.push_back(slot);
      }
    }
    others = std::move(left);
  }
  return {};
}

// Neighbours in one request.
Result<> BlockRead::fetch_all(std::span<Slot* const> wanted) {
  std::vector<Slot*> run;
  const size_t most = std::max<size_t>(kTierFetchBytes / block_bytes_, 1);
  for (size_t i = 0; i < wanted.size(); ++i) {
    run.push_back(wanted[i]);
    const bool ends = i + 1 == wanted.size() || wanted[i + 1]->number != wanted[i]->number + 1 ||
                      run.size() == most;
    if (!ends) continue;
    THAW_CHECK(fetch(run));
    run.clear();
  }
  return {};
}

Result<> BlockRead::fetch(Run run) {
  auto fetched = fetch_below(run.front()->number, run.size());
  if (!fetched) {
    land_error(context_, run, fetched.error());
    // Past the end, by the store's word: it shall answer the range that was asked for.
    give_up_ = fetched.error().code() == Code::invalid;
    return give_up_ ? Result<>() : std::move(fetched).error();
  }
  if (learn(fetched->info)) fill(run, *fetched);
  land(run, *fetched);
  return {};
}

Result<Fetched> BlockRead::fetch_below(uint64_t first, uint64_t count) const {
  const uint64_t start = first * block_bytes_;
  const ByteRange range = ByteRange::of(start, count * block_bytes_);
  THAW_ASSIGN(Fetched fetched, parts_.slow.get(context_, object_.key, range, wanted_));
  THAW_CHECK(check_version(wanted_, fetched.info));
  THAW_CHECK(check_fetched(parts_, object_.key, range, fetched));
  return fetched;
}

// Before the flights land: who looks then finds the blocks waiting to be written.
void BlockRead::fill(Run run, const Fetched& fetched) {
  std::vector<BlockFill> fills = fills_of(object_, run.front()->number, fetched);
  for (size_t i = 0; i < fills.size(); ++i) fills[i].claim = std::move(run[i]->claim);
  parts_.fills.add(std::move(fills), fetched.bytes.size());
}

void BlockRead::land(Run run, const Fetched& fetched) {
  const uint64_t start = run.front()->number * block_bytes_;
  const uint64_t size = fetched.bytes.size();
  const auto offset_of = [&](const Slot& slot, uint32_t within) {
    return std::min(slot.number * block_bytes_ + within - start, size);
  };
  for (Slot* slot : run) {
    const uint64_t from = offset_of(*slot, 0);
    const uint64_t to = std::min(from + block_bytes_, size);
    slot->seat.land({Landing::How::block,
                     FetchedBlock{fetched.bytes.slice(from, to - from), fetched.info},
                     std::nullopt});
    slot->claim.reset();
    slot->done = true;
  }
  const uint64_t from = offset_of(*run.front(), run.front()->from);
  const uint64_t to = offset_of(*run.back(), run.back()->to);
  got_.push_back({start + from, fetched.bytes.slice(from, to - from)});
}

void BlockRead::land_error(const Context& context, Run run, const Error& error) {
  Landing::How how = is_final(error.code()) ? Landing::How::final : Landing::How::failed;
  if (!context.alive()) how = Landing::How::look_again;  // this reader's own end
  for (Slot* slot : run) {
    slot->claim.reset();
    slot->seat.land({how, std::nullopt, error});
  }
}

// --- what others fetch

Result<> BlockRead::wait_for_others(std::vector<Slot>& slots) {
  for (Slot& slot : slots) {
    if (give_up_ || !slot.seat.waits()) continue;
    THAW_ASSIGN(Landing landing, slot.seat.wait(context_));
    slot.seat = {};
    switch (landing.how) {
      case Landing::How::block:
        parts_.meter.shared.fetch_add(1, std::memory_order_relaxed);
        take(slot, slice_of(slot, landing.block->bytes), landing.block->info);
        break;
      case Landing::How::look_again:
        break;
      case Landing::How::failed:
        // One more try is ours. Were it one for each that waits, the last would wait for all.
        if (++slot.failed > 1) return *std::move(landing.error);
        break;
      case Landing::How::final:
        give_up_ = landing.error->code() == Code::invalid;
        if (!give_up_) return *std::move(landing.error);
        break;
    }
  }
  return {};
}

// --- the answer

Buffer BlockRead::slice_of(const Slot& slot, const Buffer& block) const {
  const size_t from = std::min<size_t>(slot.from, block.size());
  const size_t to = std::min<size_t>(slot.to, block.size());
  return block.slice(from, to - from);
}

void BlockRead::take(Slot& slot, Buffer bytes, const ObjectInfo& info) {
  slot.done = true;
  if (learn(info)) got_.push_back({slot.number * block_bytes_ + slot.from, std::move(bytes)});
}

// Whether what the block says of its object is what others said.
bool BlockRead::learn(const ObjectInfo& info) {
  if (object_.object_bytes && *object_.object_bytes != info.size_bytes) {
    log::warn("{}: the tier's blocks contradict the store below on its size", object_.key.text());
    give_up_ = true;
    return false;
  }
  object_.object_bytes = info.size_bytes;
  if (!info_) info_ = info;
  return true;
}

Result<Fetched> BlockRead::answer() {
  THAW_ASSIGN(const Piece piece, piece_of(range_, *object_.object_bytes));
  std::erase_if(got_, [](const Part& part) { return part.bytes.empty(); });
  std::sort(got_.begin(), got_.end(),
            [](const Part& a, const Part& b) { return a.offset < b.offset; });
  uint64_t at = piece.offset;
  for (const Part& part : got_) {
    if (part.offset != at) break;
    at += part.bytes.size();
  }
  if (at != piece.offset + piece.length) {
    return Error(Code::internal, "the blocks of " + object_.key.text() + " leave a gap");
  }
  if (got_.size() == 1) return Fetched{std::move(got_.front().bytes), *std::move(info_)};
  try {
    ByteVector all;
    all.reserve(piece.length);
    for (const Part& part : got_) all.append(part.bytes.view());
    return Fetched{Buffer(std::move(all)), *std::move(info_)};
  } catch (const std::bad_alloc&) {
    return Error(Code::exhausted, "no memory for " + human_size(piece.length));
  }
}

}  // namespace

Result<> check_fetched(const TierParts& parts, const ObjectKey& key, const ByteRange& range,
                       const Fetched& fetched) {
  const uint64_t size_bytes = fetched.info.size_bytes;
  const uint64_t got = fetched.bytes.size();
  if (size_bytes < range.offset || got != std::min(size_bytes - range.offset, range.length)) {
    return Error(Code::unavailable, fmt::format("get {}: {} bytes came of {} from {} on",
                                                key.text(), got, size_bytes, range.offset));
  }
  const uint64_t block_bytes = parts.options.block_bytes;
  parts.meter.misses.fetch_add((got + block_bytes - 1) / block_bytes, std::memory_order_relaxed);
  parts.meter.miss_bytes.fetch_add(got, std::memory_order_relaxed);
  return {};
}

std::vector<BlockFill> fills_of(const TieredObject& object, uint64_t first,
                                const Fetched& fetched) {
  std::vector<BlockFill> fills;
  for (uint64_t offset = 0; offset < fetched.bytes.size();) {
    TierBlock block{.object = object.key.text(),
                    .etag = object.etag,
                    .number = first + fills.size(),
                    .object_bytes = fetched.info.size_bytes,
                    .modified_ns = fetched.info.modified.ns,
                    .full_bytes = object.block_bytes};
    if (!is_valid(block)) break;  // past the end
    const uint32_t length = data_bytes_of(block);
    fills.push_back({object.names.block(block.number), std::move(block),
                     fetched.bytes.slice(offset, length), nullptr});
    offset += length;
  }
  return fills;
}

Result<Fetched> read_through(const Context& context, const TierParts& parts, TieredObject object,
                             const ByteRange& range, const Wanted& wanted) {
  return BlockRead(context, parts, std::move(object), range, wanted).run();
}

}  // namespace thaw
