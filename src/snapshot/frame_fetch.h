// Frames as they come from a store: fetched, verified, and fetched once more past all tiers where
// they are not what they should be. What a restore and a reader of ranges have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/byte_budget.h"
#include "base/context.h"
#include "format/frame.h"
#include "format/manifest.h"
#include "object/store.h"
#include "snapshot/fetch_plan.h"
#include "snapshot/known_damage.h"
#include "snapshot/transfer.h"

namespace thaw {

// Decoders that wait for their next frame, so that as many exist as threads and no more.
// Thread-safe; outlives what it lends.
class DecoderPool {
 public:
  // Goes back to the pool when destroyed.
  class Loan {
   public:
    explicit Loan(DecoderPool& pool) : pool_(pool), decoder_(pool.take()) {}
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() { pool_.give_back(std::move(decoder_)); }
    FrameDecoder* operator->() { return decoder_.get(); }

   private:
    DecoderPool& pool_;
    std::unique_ptr<FrameDecoder> decoder_;
  };

 private:
  std::unique_ptr<FrameDecoder> take();
  void give_back(std::unique_ptr<FrameDecoder> decoder);

  std::mutex mutex_;
  std::vector<std::unique_ptr<FrameDecoder>> idle_;
};

// How much is fetched from one store at once, by all who share it. Thread-safe; outlives them.
struct FetchAllowance {
  explicit FetchAllowance(const TransferLimits& limits)
      : most_fetches(limits.most_fetches),
        gate(limits.first_fetches, limits.most_fetches),
        budget(limits.fetch_budget_bytes) {}

  const unsigned most_fetches;
  TransferGate gate;
  ByteBudget budget;
  DecoderPool decoders;
};

// Fetches frames of one snapshot. Thread-safe; everything passed in outlives it.
class FrameFetch {
 public:
  FrameFetch(ObjectStore& store, const Layout& layout, const KnownDamage& damage,
             FetchAllowance& allowance)
      : store_(store), layout_(layout), damage_(damage), allowance_(allowance) {}

  struct Fetched {
    Buffer bytes;
    ByteBudget::Reservation reservation;  // for as long as the bytes are held
  };
  // The bytes of a range, once there is room for them and for `more_bytes`. A pack that is missing
  // or cut off, twice, is Code::corrupt, names the object and is remembered as damage.
  Result<Fetched> fetch(const Context& context, const FetchRange& range,
                        uint64_t more_bytes = 0) const;

  // Makes something of a frame's bytes. Code::corrupt when they are not what they should be.
  using Read = std::function<Result<>(Bytes stored)>;
  // Calls `read`; when it answers corrupt, the frame is fetched past all tiers and `read` called
  // once more. What is corrupt then names the object, and is remembered as damage.
  Result<> read_frame(const Context& context, uint32_t chunk, Bytes stored, const Read& read) const;

  FetchAllowance& allowance() const { return allowance_; }

 private:
  Error remembered(const PackRef& pack, Error error) const;

  ObjectStore& store_;
  const Layout& layout_;
  const KnownDamage& damage_;
  FetchAllowance& allowance_;
};

// Verifies what a frame held: a whole chunk by its digest, a bundle by those of `files`, the parts
// of it that somebody wants. Code::corrupt otherwise.
Result<> verify_chunk(const Manifest& manifest, uint32_t chunk, std::span<const ChunkUse> files,
                      Bytes content);

}  // namespace thaw
