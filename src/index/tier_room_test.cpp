// Here, and not beside its code, because it takes an index.
#include "object/tier_room.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <thread>

#include "index/memory_index.h"
#include "object/memory.h"
#include "support/faulty_store.h"
#include "support/result_check.h"

namespace thaw {
namespace {

using test::is_ok;

constexpr uint64_t kBlock = 100;

class Minutes final : public WallClock {
 public:
  Timestamp now() const override { return Timestamp{ns_ += 60LL * 1'000'000'000}; }

 private:
  mutable std::atomic<int64_t> ns_ = 1'800'000'000LL * 1'000'000'000;
};

class Claims final : public BlockClaims {
 public:
  Result<std::unique_ptr<Claim>> try_claim(std::string_view block) override {
    const std::lock_guard lock(mutex_);
    if (!held_.insert(std::string(block)).second) return std::unique_ptr<Claim>();
    return std::unique_ptr<Claim>(std::make_unique<Held>(*this, std::string(block)));
  }

 private:
  class Held final : public Claim {
   public:
    Held(Claims& claims, std::string block) : claims_(claims), block_(std::move(block)) {}
    ~Held() override {
      const std::lock_guard lock(claims_.mutex_);
      claims_.held_.erase(block_);
    }

   private:
    Claims& claims_;
    const std::string block_;
  };
  std::mutex mutex_;
  std::set<std::string> held_;
};

class Room : public ::testing::Test {
 protected:
  static ObjectKey block(int number) {
    return *ObjectKey::parse("blocks/0123456789abcdef/a/@/once-64/" + std::to_string(number));
  }
  // As a fill does it.
  bool fill(TierRoom& room, int number) {
    const auto claim = claims_.try_claim(block(number).text());
    const auto made = room.make(context_, block(number), kBlock);
    if (!made || !*made) return false;
    EXPECT_TRUE(is_ok(
        fast_->put(context_, block(number), Buffer(std::string(kBlock, 'x')), PutMode::overwrite)));
    return true;
  }
  bool has(int number) { return fast_->find(context_, block(number))->has_value(); }
  uint64_t held() {
    uint64_t bytes = 0;
    const auto page = fast_->list(context_, "blocks/", {});
    for (const Listed& each : page->objects) bytes += each.info.size_bytes;
    return bytes;
  }
  // Of more than a page of blocks.
  uint64_t held_of(int count) {
    uint64_t bytes = 0;
    for (int i = 0; i < count; ++i) bytes += has(i) ? kBlock : 0;
    return bytes;
  }
  CleanedTier tier(RecencyIndex* index) { return {fast_.get(), index, &claims_}; }

  const Context context_;
  Minutes clock_;
  test::Faults faults_;
  TierMeter meter_;
  std::unique_ptr<ObjectStore> fast_ = test::faulty(make_memory_store(clock_), faults_);
  std::unique_ptr<RecencyIndex> index_ = make_memory_index();
  Claims claims_;
};

TEST_F(Room, WhatWasUsedLongestAgoGoes) {
  TierRoom room(tier(index_.get()), 10 * kBlock, clock_, meter_);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(fill(room, i));
  const ObjectKey used = block(0);
  ASSERT_TRUE(is_ok(touch(*index_, context_, {&used, 1}, clock_.now())));
  ASSERT_TRUE(fill(room, 10));
  EXPECT_TRUE(has(0)) << "it was used";
  EXPECT_FALSE(has(1));
  EXPECT_LE(held(), 10 * kBlock);
  EXPECT_EQ(meter_.evicted, 2U) << "down to 95%";
  EXPECT_EQ(index_->usage(context_, UsageOf::all())->bytes, held());
}

TEST_F(Room, WithoutAnIndexWhatWasWrittenFirstGoes) {
  TierRoom room(tier(nullptr), 10 * kBlock, clock_, meter_);
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(fill(room, i));
    ASSERT_LE(held(), 10 * kBlock);
  }
  EXPECT_TRUE(has(29));
  EXPECT_FALSE(has(0));
}

TEST_F(Room, AnIndexThatIsNewLearnsWhatIsThere) {
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(is_ok(
        fast_->put(context_, block(i), Buffer(std::string(kBlock, 'x')), PutMode::overwrite)));
  }
  TierRoom room(tier(index_.get()), 10 * kBlock, clock_, meter_);
  ASSERT_TRUE(fill(room, 10));
  EXPECT_LE(held(), 10 * kBlock);
  EXPECT_FALSE(has(0));
}

// Deleted, or damaged and begun anew, while processes go on filling: the bound holds for what lies
// in the tier, not for what the index has learned since.
TEST_F(Room, AnIndexThatIsLostMeanwhileLearnsItAgain) {
  TierRoom room(tier(index_.get()), 10 * kBlock, clock_, meter_);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(fill(room, i));
  ASSERT_TRUE(is_ok(index_->evict_prefix(context_, "blocks/0123456789abcdef")));
  for (int i = 10; i < 30; ++i) {
    ASSERT_TRUE(fill(room, i));
    ASSERT_LE(held(), 10 * kBlock) << i;
  }
  EXPECT_EQ(index_->usage(context_, UsageOf::all())->bytes, held());
}

// The process that told it what is there was killed half-way (of more than a page of names).
TEST_F(Room, AnIndexThatWasToldHalfIsToldAgain) {
  constexpr int kBlocks = 2500;
  for (int i = 0; i < kBlocks; ++i) {
    ASSERT_TRUE(is_ok(
        fast_->put(context_, block(i), Buffer(std::string(kBlock, 'x')), PutMode::overwrite)));
  }
  const ObjectKey foreign = *ObjectKey::parse("blocks/0123456789abcdef/a/foreign");
  ASSERT_TRUE(is_ok(fast_->put(context_, foreign, Buffer(std::string("x")), PutMode::create)));
  {
    faults_.fail(test::Verb::list, 2, test::When::before, Error(Code::cancelled, "killed"));
    TierRoom room(tier(index_.get()), kBlocks * kBlock, clock_, meter_);
    ASSERT_FALSE(fill(room, kBlocks));
    ASSERT_GT(index_->usage(context_, UsageOf::all())->blocks, 0U);
  }
  TierRoom room(tier(index_.get()), kBlocks * kBlock, clock_, meter_);
  ASSERT_TRUE(fill(room, kBlocks));
  EXPECT_LE(held_of(kBlocks + 1), kBlocks * kBlock);
  EXPECT_EQ(index_->usage(context_, UsageOf::all())->bytes, held_of(kBlocks + 1));
  EXPECT_TRUE(index_->coldest(context_, clock_.now(), 1, "")->blocks.front().bytes);
}

// A machine whose clock ran years ahead read everything: that keeps nothing for years.
TEST_F(Room, UsesInTheFutureMakeRoomToo) {
  TierRoom room(tier(index_.get()), 10 * kBlock, clock_, meter_);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(fill(room, i));
  const Timestamp ahead{clock_.now().ns + 10LL * 365 * 86'400 * 1'000'000'000};
  for (int i = 0; i < 10; ++i) {
    const ObjectKey used = block(i);
    ASSERT_TRUE(is_ok(touch(*index_, context_, {&used, 1}, ahead)));
  }
  for (int i = 10; i < 30; ++i) {
    ASSERT_TRUE(fill(room, i)) << i;
    ASSERT_EQ(index_->usage(context_, UsageOf::all())->bytes, held());
  }
  EXPECT_LE(held(), 10 * kBlock);
}

TEST_F(Room, WhatCannotBeWrittenIsForgotten) {
  TierRoom room(tier(index_.get()), 10 * kBlock, clock_, meter_);
  ASSERT_TRUE(*room.make(context_, block(0), kBlock));
  room.give_back(context_, block(0), kBlock);
  EXPECT_EQ(index_->usage(context_, UsageOf::all())->blocks, 0U);
  EXPECT_FALSE(*room.make(context_, block(1), 11 * kBlock)) << "larger than the tier";
}

// The order of deletion: block, then index. A tier that cannot delete stays known.
TEST_F(Room, WhatCannotBeRemovedStaysKnown) {
  TierRoom room(tier(index_.get()), 2 * kBlock, clock_, meter_);
  ASSERT_TRUE(fill(room, 0));
  ASSERT_TRUE(fill(room, 1));
  faults_.fail(test::Verb::remove, 1, test::When::before, Error(Code::denied, "scripted"));
  EXPECT_FALSE(fill(room, 2));
  EXPECT_EQ(index_->usage(context_, UsageOf::all())->bytes, held());
  EXPECT_TRUE(fill(room, 3));
}

TEST_F(Room, ManyWhoFillStayWithinTheBound) {
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<TierRoom>> rooms;  // one each, as in processes
  for (int i = 0; i < 8; ++i)
    rooms.push_back(std::make_unique<TierRoom>(tier(index_.get()), 20 * kBlock, clock_, meter_));
  std::atomic<uint64_t> most{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 200; ++n) {
        fill(*rooms[static_cast<size_t>(i)], i * 1000 + n);
        const uint64_t now = held();
        uint64_t before = most;
        while (before < now && !most.compare_exchange_weak(before, now)) {
        }
      }
    });
  }
  for (std::thread& each : threads) each.join();
  EXPECT_LE(most, 21 * kBlock);
  EXPECT_GT(meter_.evicted, 100U);
}

}  // namespace
}  // namespace thaw
