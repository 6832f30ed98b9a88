#include "object/object_reader.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#include "base/task_group.h"
#include "object/block_names.h"
#include "object/contract.h"

namespace thaw {
namespace {

// A tier's usual block, which then comes without a copy. Eight in flight are 32 MiB.
constexpr uint64_t kPieceBytes = 4 * 1024 * 1024;
constexpr size_t kInFlight = 8;

// The pieces of a stream on their way: fetched in any order, taken in theirs.
class Arrivals {
 public:
  void put(size_t index, Buffer bytes) {
    {
      const std::lock_guard lock(mutex_);
      slots_[index % kInFlight] = std::move(bytes);
    }
    arrived_.notify_all();
  }

  // Waits for the piece; gives up when `group` has failed or the context ends.
  Result<Buffer> take(const Context& context, TaskGroup& group, size_t index) {
    std::unique_lock lock(mutex_);
    auto& slot = slots_[index % kInFlight];
    while (!slot) {
      if (auto failure = group.failure()) return *std::move(failure);
      THAW_CHECK(context.alive());
      // Neither a failure nor a stop flag signals the condition.
      arrived_.wait_for(lock, std::chrono::milliseconds(20));
    }
    return *std::exchange(slot, std::nullopt);
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::array<std::optional<Buffer>, kInFlight> slots_;
};

class PinnedReader final : public ObjectReader {
 public:
  // `first`: bytes of this version that are at hand.
  PinnedReader(ObjectStore& store, ObjectKey key, ObjectInfo info, uint64_t first_offset = 0,
               Buffer first = {})
      : store_(store),
        key_(std::move(key)),
        info_(std::move(info)),
        wanted_(Freshness::any, ObjectVersion{info_.etag, info_.size_bytes}),
        first_offset_(first_offset),
        first_(std::move(first)) {}

  const ObjectInfo& info() const override { return info_; }

  Result<size_t> read_at(const Context& context, uint64_t offset, MutableBytes into) override {
    THAW_ASSIGN(const Buffer bytes, read(context, offset, into.size()));
    if (!bytes.empty()) std::memcpy(into.data(), bytes.data(), bytes.size());
    return bytes.size();
  }

  Result<Buffer> read(const Context& context, uint64_t offset, uint64_t length) override {
    THAW_ASSIGN(const Piece piece, range_of(offset, length));
    THAW_CHECK(context.alive().within("read " + key_.text()));
    if (piece.length == 0) return Buffer();
    return fetch(context, piece);
  }

  Result<> stream(const Context& context, uint64_t offset, uint64_t length,
                  const Sink& sink) override;

 private:
  Result<Piece> range_of(uint64_t offset, uint64_t length) const {
    return piece_of(ByteRange::of(offset, length), info_.size_bytes).within("read " + key_.text());
  }

  Result<Buffer> fetch(const Context& context, const Piece& piece) {
    if (piece.offset >= first_offset_ && piece.offset - first_offset_ <= first_.size() &&
        piece.length <= first_.size() - (piece.offset - first_offset_)) {
      return first_.slice(piece.offset - first_offset_, piece.length);
    }
    auto fetched = store_.get(context, key_, ByteRange::of(piece.offset, piece.length), wanted_);
    if (!fetched && fetched.error().code() == Code::not_found) {
      return Error(Code::busy, key_.text() + " changed while it was read");
    }
    if (!fetched) return std::move(fetched).error();
    if (fetched->bytes.size() == piece.length) return std::move(fetched->bytes);
    return Error(Code::unavailable, "fewer bytes of " + key_.text() + " came than it has");
  }

  ObjectStore& store_;
  const ObjectKey key_;
  const ObjectInfo info_;
  const Wanted wanted_;
  const uint64_t first_offset_;
  const Buffer first_;
};

// The n-th aligned piece of a range.
Piece nth_piece(const Piece& range, size_t n) {
  const uint64_t end = range.offset + range.length;
  const uint64_t start = (range.offset / kPieceBytes + n) * kPieceBytes;
  const uint64_t from = std::max(start, range.offset);
  return {from, std::min(start + kPieceBytes, end) - from};
}

Result<> PinnedReader::stream(const Context& context, uint64_t offset, uint64_t length,
                              const Sink& sink) {
  THAW_ASSIGN(const Piece range, range_of(offset, length));
  THAW_CHECK(context.alive().within("read " + key_.text()));
  if (range.length == 0) return {};
  const uint64_t end = range.offset + range.length;
  const size_t count = (end - 1) / kPieceBytes - range.offset / kPieceBytes + 1;
  if (count == 1) {
    THAW_ASSIGN(const Buffer bytes, fetch(context, range));
    return sink(bytes.view());
  }
  Arrivals arrivals;  // outlives the group, whose tasks use it
  TaskGroup group(context, static_cast<unsigned>(std::min(count, kInFlight)), kInFlight);
  const auto ask_for = [&](size_t index) {
    group.submit([&arrivals, this, piece = nth_piece(range, index),
                  index](const Context& inner) -> Result<> {
      THAW_ASSIGN(Buffer bytes, fetch(inner, piece));
      arrivals.put(index, std::move(bytes));
      return {};
    });
  };
  for (size_t i = 0; i < std::min(count, kInFlight); ++i) ask_for(i);
  for (size_t i = 0; i < count; ++i) {
    THAW_ASSIGN(const Buffer bytes, arrivals.take(context, group, i));
    THAW_CHECK(sink(bytes.view()));
    if (i + kInFlight < count) ask_for(i + kInFlight);
  }
  return group.wait();
}

Error no_such_object(const ObjectKey& key) {
  return Error(Code::not_found, "no such object").within("open " + key.text());
}

}  // namespace

Result<std::unique_ptr<ObjectReader>> open_object(const Context& context, ObjectStore& store,
                                                  ObjectKey key) {
  THAW_ASSIGN(auto info, store.find(context, key));
  if (!info) return no_such_object(key);
  return std::unique_ptr<ObjectReader>(
      std::make_unique<PinnedReader>(store, std::move(key), *std::move(info)));
}

Result<std::unique_ptr<ObjectReader>> open_object_at(const Context& context, ObjectStore& store,
                                                     ObjectKey key, uint64_t offset,
                                                     uint64_t length) {
  // Its blocks have no version in their names: an answer from a tier has no etag.
  if (is_write_once(key)) return open_object(context, store, std::move(key));
  const uint64_t to_border = kPieceBytes - offset % kPieceBytes;
  const auto range = ByteRange::of(offset, std::min(length, to_border));
  auto got = store.get(context, key, range, Wanted::first());
  // An offset past the end, by the store's word: find() tells where that is. Without an etag the
  // version that it answers is not known.
  const bool unknown = got ? got->info.etag.empty() : got.error().code() == Code::invalid;
  if (unknown) return open_object(context, store, std::move(key));
  if (!got && got.error().code() == Code::not_found) return no_such_object(key);
  if (!got) return std::move(got).error().within("open " + key.text());
  return std::unique_ptr<ObjectReader>(std::make_unique<PinnedReader>(
      store, std::move(key), std::move(got->info), offset, std::move(got->bytes)));
}

}  // namespace thaw
