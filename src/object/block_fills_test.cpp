#include "object/block_fills.h"

#include <gmock/gmock.h>

#include <latch>

#include "object/tier_marker.h"
#include "support/result_check.h"
#include "support/tier_stack.h"

namespace thaw {
namespace {

using test::Call;
using test::is_ok;
using test::Verb;
using test::When;

constexpr size_t kBlock = 64 * 1024;

class Fills : public ::testing::Test {
 protected:
  Fills() {
    options_.fill_threads = 1;
    options_.fill_queue_bytes = 4 * kBlock;
  }
  void open() {
    fills_.emplace(*fast_, options_, breaker_, meter_, notes_, nullptr, system_clock(), context_);
  }
  // Blocks `first`… of an object, as they come in one fetch.
  void add(uint64_t first, size_t count) {
    const Buffer all = Buffer::copy_of(test::random_bytes(count * kBlock, first));
    std::vector<BlockFill> fills;
    for (size_t i = 0; i < count; ++i)
      fills.push_back(fill_of(first + i, all.slice(i * kBlock, kBlock)));
    fills_->add(std::move(fills), all.size());
  }
  BlockFill fill_of(uint64_t number, Buffer data) {
    TierBlock block{"packs/a", "", number, 1000 * kBlock, 5, kBlock};
    return {name(number), block, std::move(data), std::make_unique<CountedClaim>(claims_)};
  }
  static ObjectKey name(uint64_t number) {
    return ObjectKey::parse("blocks/s/packs/a/@/once-64/" + std::to_string(number)).value();
  }
  bool has(uint64_t number) {
    const auto found = fast_->find(context_, name(number));
    return found && found->has_value();
  }
  // The first put (the marker's) waits until told.
  void hold() {
    faults_.on_call([this](const Call& call) -> Result<> {
      if (call.verb == Verb::put && call.when == When::before && call.number == 1) {
        begun_.count_down();
        go_.wait();
      }
      return {};
    });
  }

  struct CountedClaim final : BlockClaims::Claim {
    explicit CountedClaim(std::atomic<int>& count) : count_(count) { ++count_; }
    ~CountedClaim() override { --count_; }
    std::atomic<int>& count_;
  };

  std::atomic<int> claims_{0};
  test::Faults faults_;
  const std::unique_ptr<ObjectStore> fast_ = test::faulty(make_memory_store(), faults_);
  BlockCacheOptions options_ = test::small_blocks();
  TierBreaker breaker_{3, std::chrono::hours(1)};
  TierMeter meter_;
  const Context context_;
  BlockNotes notes_{nullptr, {}, system_clock(), meter_, context_};
  std::latch begun_{1};
  std::latch go_{1};
  std::optional<BlockFills> fills_;
};

TEST_F(Fills, AreWrittenBeforeTheEnd) {
  open();
  add(0, 3);
  fills_.reset();
  EXPECT_TRUE(has(0) && has(1) && has(2));
  EXPECT_EQ(meter_.fills, 3U);
  EXPECT_EQ(meter_.filled_bytes, 3 * kBlock);
  EXPECT_EQ(claims_, 0);
  const auto block = fast_->get(context_, name(1), ByteRange::whole(), Freshness::any);
  ASSERT_TRUE(is_ok(block));
  const auto header = parse_tier_header(block->bytes.view());
  ASSERT_TRUE(is_ok(header));
  EXPECT_EQ(header->block.number, 1U);
  EXPECT_TRUE(pieces_match(*header, 0, block->bytes.view().subspan(header->header_bytes)));
  EXPECT_TRUE(check_tier(context_, *fast_).value());
}

TEST_F(Fills, WithoutAnyNoThreadStarts) {
  open();
  fills_.reset();
  EXPECT_EQ(faults_.calls(Verb::put), 0U);
}

TEST_F(Fills, WhatWaitsCanBeReadAndKeepsItsClaim) {
  hold();
  open();
  add(0, 2);
  begun_.wait();
  const auto waiting = fills_->pending(name(1).text());
  ASSERT_TRUE(waiting.has_value());
  EXPECT_EQ(waiting->bytes.size(), kBlock);
  EXPECT_EQ(waiting->info.size_bytes, 1000 * kBlock);
  EXPECT_EQ(waiting->info.modified.ns, 5);
  EXPECT_TRUE(fills_->pending(name(0).text()).has_value()) << "while it is being written, too";
  EXPECT_FALSE(fills_->pending(name(2).text()).has_value());
  EXPECT_EQ(claims_, 2);
  go_.count_down();
  fills_.reset();
  EXPECT_EQ(claims_, 0);
}

TEST_F(Fills, TheQueueIsBoundedByWhatItKeepsAlive) {
  hold();
  open();
  add(0, 3);
  begun_.wait();
  add(10, 2);
  EXPECT_EQ(meter_.fills_dropped, 2U) << "a fetch of 2 does not fit beside one of 3";
  add(20, 1);
  EXPECT_EQ(meter_.fills_dropped, 2U);
  add(30, 1);
  EXPECT_EQ(meter_.fills_dropped, 3U);
  EXPECT_EQ(claims_, 4);
  go_.count_down();
  fills_.reset();
  EXPECT_EQ(meter_.fills, 4U);
  EXPECT_TRUE(has(20));
  EXPECT_FALSE(has(10) || has(30));
}

// One block of a large fetch keeps the whole fetch alive, however many of its blocks are done.
TEST_F(Fills, AFetchCountsUntilItsLastBlockIsWritten) {
  std::latch second(1);
  std::latch go(1);
  faults_.on_call([&](const Call& call) -> Result<> {
    if (call.verb == Verb::put && call.when == When::before && call.name == name(1).text()) {
      second.count_down();
      go.wait();
    }
    return {};
  });
  open();
  add(0, 2);
  second.wait();
  add(10, 3);
  EXPECT_EQ(meter_.fills_dropped, 3U);
  go.count_down();
  fills_.reset();
}

TEST_F(Fills, OneThatIsLargerThanTheQueueFitsAnEmptyOne) {
  open();
  add(0, 6);
  fills_.reset();
  EXPECT_EQ(meter_.fills, 6U);
}

TEST_F(Fills, WhatIsLeftAfterTheDrainTimeIsDropped) {
  options_.drain_time = std::chrono::milliseconds(1);
  faults_.on_call([&](const Call& call) -> Result<> {
    if (call.verb == Verb::put && call.when == When::before) go_.wait();
    return {};
  });
  open();
  add(0, 4);
  std::thread closer([&] { fills_.reset(); });
  // All that waits is dropped; the one under way is let end first.
  while (meter_.fills_dropped < 3U) std::this_thread::yield();
  go_.count_down();
  closer.join();
  EXPECT_EQ(meter_.fills_dropped + meter_.fills, 4U);
  EXPECT_EQ(claims_, 0);
}

TEST_F(Fills, AStoppedProcessDoesNotWaitForThem) {
  StopFlag stop;
  const Context process(stop);
  BlockFills fills(*fast_, options_, breaker_, meter_, notes_, nullptr, system_clock(), process);
  stop.stop();
  std::vector<BlockFill> one;
  one.push_back(fill_of(0, Buffer::copy_of(test::random_bytes(kBlock, 1))));
  fills.add(std::move(one), kBlock);
}

TEST_F(Fills, AFailureIsCountedAndOpensTheBreaker) {
  faults_.fail_all(Error(Code::denied, "scripted"));
  open();
  add(0, 4);
  fills_.reset();
  EXPECT_EQ(meter_.fills_failed, 3U);
  EXPECT_EQ(meter_.fills_dropped, 1U) << "the breaker is open";
  EXPECT_FALSE(breaker_.is_closed());
  open();
  EXPECT_FALSE(fills_->active());
  add(0, 1);
  EXPECT_EQ(meter_.fills_dropped, 2U);
}

TEST_F(Fills, NoBlockBeforeTheMarker) {
  faults_.fail(Verb::put, 1, When::before, Error(Code::unavailable, "scripted"));
  open();
  add(0, 2);
  fills_.reset();
  EXPECT_FALSE(has(0));
  EXPECT_TRUE(has(1));
  EXPECT_TRUE(check_tier(context_, *fast_).value());
}

TEST_F(Fills, WhatWouldPassTheBoundTakesThePlaceOfOthers) {
  options_.max_bytes = 2 * (kBlock + 4096);
  options_.fill_threads = 1;
  open();
  add(0, 4);
  fills_.reset();
  EXPECT_EQ(meter_.fills, 4U);
  EXPECT_EQ(meter_.fills_dropped, 0U);
  EXPECT_TRUE(has(3));
  EXPECT_FALSE(has(0));
  EXPECT_TRUE(breaker_.is_closed()) << "to be full is no failure";
  open();
  add(10, 1);
  fills_.reset();
  uint64_t held = 0;
  const auto page = fast_->list(context_, "blocks/", {});
  ASSERT_TRUE(is_ok(page));
  for (const Listed& each : page->objects) held += each.info.size_bytes;
  EXPECT_LE(held, options_.max_bytes) << "what was there counts";
}

TEST_F(Fills, WhatIsLargerThanTheTierIsDropped) {
  options_.max_bytes = kBlock;
  open();
  add(0, 2);
  fills_.reset();
  EXPECT_EQ(meter_.fills, 0U);
  EXPECT_EQ(meter_.fills_dropped, 2U);
}

TEST_F(Fills, WhatIsForgottenWhileItIsWrittenIsRemovedAgain) {
  std::latch under_way(1);
  faults_.on_call([&](const Call& call) -> Result<> {
    if (call.verb == Verb::put && call.when == When::after && call.name == name(0).text()) {
      under_way.count_down();
      go_.wait();
    }
    return {};
  });
  open();
  add(0, 2);
  under_way.wait();
  fills_->forget_prefix("blocks/s/packs/a/@/once-64/");
  EXPECT_FALSE(fills_->pending(name(1).text()).has_value());
  go_.count_down();
  fills_.reset();
  EXPECT_FALSE(has(0) || has(1));
  EXPECT_EQ(meter_.fills_dropped, 2U);
}

}  // namespace
}  // namespace thaw
