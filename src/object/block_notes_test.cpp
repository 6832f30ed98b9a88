#include "object/block_notes.h"

#include <gmock/gmock.h>

#include <latch>
#include <thread>

#include "object/disk_tier.h"
#include "support/result_check.h"
#include "support/scripted_index.h"
#include "support/tier_stack.h"

namespace thaw {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

ObjectKey block(uint64_t number) {
  return ObjectKey::parse("blocks/0123456789abcdef/o/@/once-64/" + std::to_string(number)).value();
}

class SteppedClock final : public WallClock {
 public:
  Timestamp now() const override { return Timestamp{++ns_}; }

 private:
  mutable std::atomic<int64_t> ns_{0};
};

class Notes : public ::testing::Test {
 protected:
  Notes() {
    // Only the end, or many notes, make the thread write.
    options_.linger = hours(1);
    options_.drain_time = hours(1);
    options_.breaker_rest = hours(1);
  }
  void open() { notes_.emplace(test::scripted_index(told_), options_, clock_, meter_, context_); }
  // The first call of the index waits until told.
  void hold() {
    told_.on_apply([this](const Context&, size_t call) -> Result<> {
      if (call == 1) {
        begun_.count_down();
        go_.wait();
      }
      return {};
    });
  }

  test::ToldNotes told_;
  BlockNotesOptions options_;
  const SteppedClock clock_;
  TierMeter meter_;
  const Context context_;
  std::latch begun_{1};
  std::latch go_{1};
  std::optional<BlockNotes> notes_;
};

TEST_F(Notes, AreWrittenBeforeTheEndInTheirOrder) {
  open();
  notes_->touched(block(1));
  notes_->admitted(block(2), 77);
  notes_->evicted(block(3));
  notes_.reset();
  EXPECT_THAT(told_.lines(),
              ElementsAre("touch o/@/once-64/1", "admit o/@/once-64/2", "evict o/@/once-64/3"));
  EXPECT_EQ(told_.notes()[1].bytes, 77U);
  EXPECT_EQ(told_.notes()[1].at.ns, 2);
  EXPECT_EQ(told_.calls(), 1U);
  EXPECT_EQ(meter_.notes, 3U);
  EXPECT_EQ(meter_.notes_dropped, 0U);
}

TEST_F(Notes, OfOneBlockBecomeOne) {
  open();
  for (int i = 0; i < 100; ++i) notes_->touched(block(1));
  notes_->touched(block(2));
  notes_->admitted(block(2), 5);
  notes_->touched(block(2));
  notes_->admitted(block(3), 5);
  notes_->evicted(block(3));
  notes_.reset();
  EXPECT_THAT(told_.lines(),
              ElementsAre("touch o/@/once-64/1", "admit o/@/once-64/2", "evict o/@/once-64/3"));
  EXPECT_EQ(told_.notes()[0].at.ns, 100) << "the last use";
  EXPECT_EQ(told_.notes()[1].at.ns, 103);
  EXPECT_EQ(told_.notes()[1].bytes, 5U);
}

// An eviction of a block says that its size is gone; what comes after it does not take that back.
TEST_F(Notes, WhatFollowsAnEvictionIsANoteOfItsOwn) {
  open();
  notes_->evicted(block(1));
  notes_->admitted(block(1), 9);
  notes_->touched(block(1));
  notes_->evicted(block(1));
  notes_->touched(block(1));
  notes_.reset();
  EXPECT_THAT(told_.lines(),
              ElementsAre("evict o/@/once-64/1", "evict o/@/once-64/1", "touch o/@/once-64/1"));
}

TEST_F(Notes, WithoutAnyTheIndexIsNotAsked) {
  open();
  notes_.reset();
  EXPECT_EQ(told_.calls(), 0U);
}

TEST_F(Notes, WithoutAnIndexTheyAreNothing) {
  BlockNotes none(nullptr, options_, clock_, meter_, context_);
  none.touched(block(1));
  EXPECT_EQ(none.describe(), "");
  EXPECT_EQ(meter_.notes_dropped, 0U);
}

TEST_F(Notes, AreWrittenAfterAWhileWithoutBeingAsked) {
  options_.linger = milliseconds(1);
  open();
  notes_->touched(block(1));
  while (meter_.notes < 1) std::this_thread::yield();
  notes_->touched(block(1));
  while (meter_.notes < 2) std::this_thread::yield();
}

TEST_F(Notes, ManyDoNotWaitForTheWhile) {
  options_.most_blocks = 10;
  open();
  for (uint64_t i = 0; i < 5; ++i) notes_->touched(block(i));
  while (meter_.notes < 5) std::this_thread::yield();
}

TEST_F(Notes, TheQueueIsBounded) {
  options_.most_blocks = 4;
  hold();
  open();
  notes_->touched(block(100));
  notes_->touched(block(101));
  begun_.wait();
  for (uint64_t i = 0; i < 6; ++i) notes_->touched(block(i));
  EXPECT_EQ(meter_.notes_dropped, 2U);
  notes_->touched(block(0));
  EXPECT_EQ(meter_.notes_dropped, 2U) << "it waits already";
  go_.count_down();
  notes_.reset();
  EXPECT_EQ(meter_.notes, 6U);
}

TEST_F(Notes, BatchesAreBounded) {
  options_.batch = 3;
  open();
  for (uint64_t i = 0; i < 10; ++i) notes_->touched(block(i));
  notes_.reset();
  EXPECT_EQ(told_.calls(), 4U);
  EXPECT_EQ(told_.lines().size(), 10U);
}

TEST_F(Notes, WhatIsLeftAfterTheDrainTimeIsDropped) {
  options_.drain_time = milliseconds(1);
  options_.most_blocks = 2;
  told_.on_apply([this](const Context& context, size_t) -> Result<> {
    begun_.count_down();
    // As an index does: it ends with its context.
    while (context.alive()) std::this_thread::yield();
    return context.alive();
  });
  open();
  notes_->touched(block(0));
  begun_.wait();
  notes_->touched(block(1));
  notes_.reset();
  EXPECT_EQ(meter_.notes, 0U);
  EXPECT_EQ(meter_.notes_dropped, 2U);
  EXPECT_EQ(meter_.index_failures, 0U) << "it was stopped, and did not fail";
}

TEST_F(Notes, AStoppedProcessDoesNotWaitForThem) {
  StopFlag stop;
  const Context process(stop);
  BlockNotes notes(test::scripted_index(told_), options_, clock_, meter_, process);
  notes.touched(block(1));
  stop.stop();
}

TEST_F(Notes, AnIndexThatFailsIsLeftAlone) {
  options_.batch = 1;
  told_.on_apply(
      [](const Context&, size_t) -> Result<> { return Error(Code::unavailable, "scripted"); });
  open();
  for (uint64_t i = 0; i < 10; ++i) notes_->touched(block(i));
  notes_.reset();
  EXPECT_EQ(told_.calls(), 3U);
  EXPECT_EQ(meter_.index_failures, 3U);
  EXPECT_EQ(meter_.notes_dropped, 10U);
}

TEST_F(Notes, AnIndexThatComesBackIsUsedAgain) {
  options_.batch = 1;
  options_.breaker_rest = milliseconds(0);
  told_.on_apply([](const Context&, size_t call) -> Result<> {
    if (call <= 4) return Error(Code::timeout, "scripted");
    return {};
  });
  open();
  for (uint64_t i = 0; i < 10; ++i) notes_->touched(block(i));
  notes_.reset();
  EXPECT_EQ(meter_.notes, 6U);
  EXPECT_EQ(meter_.notes_dropped, 4U);
}

TEST_F(Notes, AnIndexThatMayNotBeWrittenIsAskedNoMore) {
  for (const Code code : {Code::denied, Code::invalid}) {
    TierMeter meter;
    test::ToldNotes told;
    told.on_apply([&](const Context&, size_t) -> Result<> { return Error(code, "scripted"); });
    options_.linger = milliseconds(0);
    options_.batch = 1;
    BlockNotes notes(test::scripted_index(told), options_, clock_, meter, context_);
    notes.touched(block(1));
    while (meter.notes_dropped < 1) std::this_thread::yield();
    while (told.calls() < 1) std::this_thread::yield();
    for (uint64_t i = 2; i < 10; ++i) notes.touched(block(i));
    EXPECT_EQ(told.calls(), 1U);
    EXPECT_EQ(meter.notes_dropped, 9U);
    EXPECT_EQ(meter.index_failures, 1U);
  }
}

TEST_F(Notes, FromManyThreads) {
  options_.linger = milliseconds(0);
  open();
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (uint64_t i = 0; i < 500; ++i) {
        notes_->touched(block(i));
        if (i % 3 == thread % 3) notes_->evicted(block(i));
        notes_->admitted(block(1000 + thread), i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  notes_.reset();
  EXPECT_EQ(meter_.notes, told_.lines().size());
  EXPECT_EQ(meter_.notes_dropped, 0U);
}

// --- what the read path tells

struct NotedStack {
  NotedStack() {
    stack.options.notes.linger = hours(1);
    stack.options.notes.drain_time = hours(1);
    reopen();
  }
  void reopen() {
    stack.cache.reset();
    stack.cache =
        block_cache(test::faulty(test::borrowed(*stack.slow), stack.slow_faults),
                    test::faulty(test::borrowed(*stack.fast), stack.fast_faults), nullptr,
                    stack.options, stack.meter, stack.context, test::scripted_index(told));
  }
  std::vector<std::string> lines() {
    reopen();
    std::vector<std::string> all = told.lines();
    std::vector<std::string> fresh(all.begin() + static_cast<ptrdiff_t>(seen), all.end());
    seen = all.size();
    return fresh;
  }

  test::ToldNotes told;
  test::TierStack stack;
  size_t seen = 0;
};

TEST(NotesOfReads, AFillAdmitsAndAHitTouches) {
  NotedStack noted;
  const std::string bytes = noted.stack.add("packs/a", 200'000);
  noted.stack.touch("packs/a");
  EXPECT_THAT(noted.lines(), ::testing::UnorderedElementsAre("admit packs/a/@/once-128/0",
                                                             "admit packs/a/@/once-128/1"));
  uint64_t stored = 0;
  for (const std::string& name : noted.stack.blocks()) {
    const auto key = ObjectKey::parse(name).value();
    stored += noted.stack.fast->find(noted.stack.context, key).value()->size_bytes;
  }
  EXPECT_EQ(noted.told.notes()[0].bytes + noted.told.notes()[1].bytes, stored);
  noted.stack.touch("packs/a", ByteRange::of(150'000, 10));
  noted.stack.touch("packs/a", ByteRange::of(150'000, 20));
  EXPECT_THAT(noted.lines(), ElementsAre("touch packs/a/@/once-128/1"));
}

TEST(NotesOfReads, ADamagedBlockIsEvictedAndAdmittedAnew) {
  NotedStack noted;
  noted.stack.add("packs/a", 100'000);
  noted.stack.touch("packs/a");
  noted.lines();
  const auto key = ObjectKey::parse(noted.stack.blocks().front()).value();
  ASSERT_TRUE(test::is_ok(noted.stack.fast->put(
      noted.stack.context, key, Buffer::copy_of(as_bytes("short")), PutMode::overwrite)));
  noted.stack.touch("packs/a");
  EXPECT_THAT(noted.lines(),
              ElementsAre("evict packs/a/@/once-128/0", "admit packs/a/@/once-128/0"));
}

TEST(NotesOfReads, WhatIsReadPastTheTierIsEvicted) {
  NotedStack noted;
  noted.stack.add("packs/a", 100'000);
  noted.stack.touch("packs/a");
  noted.lines();
  ASSERT_TRUE(test::is_ok(noted.stack.get("packs/a", ByteRange::whole(), Freshness::origin)));
  EXPECT_THAT(noted.lines(), ElementsAre("evict packs/a/@/once-128/0"));
  EXPECT_THAT(noted.stack.blocks(), IsEmpty());
}

TEST(NotesOfReads, AFillThatFailsAdmitsNothing) {
  NotedStack noted;
  noted.stack.add("packs/a", 100'000);
  noted.stack.fast_faults.fail_all(Error(Code::unavailable, "scripted"));
  noted.stack.touch("packs/a");
  EXPECT_THAT(noted.lines(), IsEmpty());
}

TEST(NotesOfReads, AnIndexThatFailsChangesNoRead) {
  NotedStack noted;
  noted.told.on_apply(
      [](const Context&, size_t) -> Result<> { return Error(Code::internal, "scripted"); });
  const std::string bytes = noted.stack.add("packs/a", 300'000);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(noted.stack.text("packs/a"), bytes);
    EXPECT_THAT(noted.lines(), IsEmpty());
  }
  EXPECT_EQ(noted.stack.meter.index_failures, 5U);
  EXPECT_EQ(noted.stack.meter.failures, 0U);
}

TEST(NotesOfReads, TheChainNamesTheIndex) {
  NotedStack noted;
  EXPECT_EQ(noted.stack.cache->describe(),
            "faulty over memory with scripted over faulty over memory");
}

}  // namespace
}  // namespace thaw
