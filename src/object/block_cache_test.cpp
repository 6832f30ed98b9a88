#include "object/block_cache.h"

#include <gmock/gmock.h>

#include <atomic>
#include <latch>

#include "format/tier_block.h"
#include "support/result_check.h"
#include "support/tier_stack.h"

namespace thaw {
namespace {

using test::Call;
using test::fails_with;
using test::is_ok;
using test::TierStack;
using test::Verb;
using test::When;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr size_t kBlock = 128 * 1024;

// --- what is kept, and what is not

TEST(BlockCache, WhatWasReadIsKept) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 3 * kBlock + 1000);
  EXPECT_TRUE(stack.text("packs/a") == text);
  const uint64_t fetches = stack.fetches();
  EXPECT_TRUE(stack.text("packs/a") == text);
  EXPECT_EQ(stack.fetches(), fetches) << "from memory or the tier";
  stack.settle();
  EXPECT_THAT(stack.blocks(), SizeIs(4));
  EXPECT_EQ(stack.meter.fills, 4U);
  EXPECT_EQ(stack.meter.filled_bytes, text.size());
  EXPECT_EQ(stack.meter.misses, 4U);
  EXPECT_EQ(stack.meter.miss_bytes, text.size());
  EXPECT_TRUE(stack.text("packs/a") == text);
  EXPECT_EQ(stack.fetches(), fetches) << "a restart finds the tier warm";
  EXPECT_EQ(stack.meter.hits, 8U);
  EXPECT_EQ(stack.meter.hit_bytes, 2 * text.size());
}

TEST(BlockCache, ARandomReadIsThatOfAPlainStore) {
  for (const bool pieces : {true, false}) {
    const uint64_t seed = test::fresh_seed();
    SCOPED_TRACE(seed);
    BlockCacheOptions options = test::small_blocks();
    options.reads_pieces = pieces;
    TierStack stack(options);
    test::TestRandom random(seed);
    const size_t size = 5 * kBlock + random.below(2 * kBlock);
    const std::string text = stack.add("packs/a", size, seed);
    const auto version = stack.version("packs/a");
    for (int i = 0; i < 300; ++i) {
      const uint64_t offset = random.below(size + 10);
      const uint64_t length = random.below(4) == 0 ? UINT64_MAX : random.below(2 * kBlock);
      const auto range =
          random.below(8) == 0 ? ByteRange::last(length) : ByteRange::of(offset, length);
      const Wanted wanted =
          random.below(2) == 0 ? Wanted(Freshness::any) : Wanted(Freshness::any, version);
      const auto plain = stack.slow->get(stack.context, TierStack::key("packs/a"), range, wanted);
      const auto tiered = stack.get("packs/a", range, wanted);
      ASSERT_EQ(plain.ok(), tiered.ok()) << offset << "+" << length;
      if (!plain) {
        ASSERT_EQ(plain.error().code(), tiered.error().code());
        continue;
      }
      ASSERT_TRUE(as_text(plain->bytes.view()) == as_text(tiered->bytes.view()))
          << offset << "+" << length;
      ASSERT_EQ(plain->info.size_bytes, tiered->info.size_bytes);
      ASSERT_EQ(plain->info.modified, tiered->info.modified);
      if (wanted.version) {
        ASSERT_EQ(plain->info.etag, tiered->info.etag);
      }
      if (random.below(20) == 0) stack.settle();
    }
    EXPECT_GT(stack.meter.hits, 100U);
    EXPECT_EQ(stack.meter.corrupt + stack.meter.failures, 0U);
  }
}

TEST(BlockCache, WhatMayChangeIsKeptInItsVersionOnly) {
  TierStack stack;
  const std::string old_text = stack.add("images/x", 2 * kBlock, 1);
  EXPECT_TRUE(stack.text("images/x") == old_text);
  stack.settle();
  EXPECT_THAT(stack.blocks(), IsEmpty());
  const ObjectVersion old_version = stack.version("images/x");
  EXPECT_TRUE(stack.text("images/x", ByteRange::whole(), {Freshness::any, old_version}) ==
              old_text);
  stack.settle();
  EXPECT_THAT(stack.blocks(), SizeIs(2));

  const std::string new_text = stack.add("images/x", 2 * kBlock, 2);
  EXPECT_TRUE(stack.text("images/x") == new_text);
  EXPECT_TRUE(stack.text("images/x", ByteRange::whole(), {Freshness::any, old_version}) == old_text)
      << "the tier still has it, whole";
  const ObjectVersion new_version = stack.version("images/x");
  EXPECT_TRUE(stack.text("images/x", ByteRange::whole(), {Freshness::any, new_version}) ==
              new_text);
  stack.settle();
  EXPECT_THAT(stack.blocks(), SizeIs(4));
}

TEST(BlockCache, AVersionThatIsGoneIsNotFound) {
  TierStack stack;
  stack.add("images/x", 2 * kBlock, 1);
  const Wanted old_one(Freshness::any, stack.version("images/x"));
  EXPECT_TRUE(is_ok(stack.get("images/x", ByteRange::of(0, 10), old_one)));
  stack.settle();
  stack.add("images/x", 100, 2);
  EXPECT_TRUE(fails_with(Code::not_found, stack.get("images/x", ByteRange::whole(), old_one)))
      << "half of it is in the tier, and is not mixed with anything";
  EXPECT_TRUE(is_ok(stack.get("images/x", ByteRange::of(5, 10), old_one)));
}

TEST(BlockCache, OtherVerbsPassThrough) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 1000);
  const ObjectKey key = TierStack::key("keys/k/@/1");
  ASSERT_TRUE(is_ok(stack.cache->put(stack.context, key, Buffer(text), PutMode::create)));
  EXPECT_TRUE(is_ok(stack.cache->find(stack.context, key)));
  EXPECT_THAT(stack.cache->list(stack.context, "", {}).value().objects, SizeIs(2));
  EXPECT_TRUE(is_ok(stack.cache->remove(stack.context, std::span(&key, 1))));
  EXPECT_TRUE(fails_with(Code::not_found, stack.get("keys/k/@/1")));
  for (const Verb verb : {Verb::get, Verb::put, Verb::find, Verb::list, Verb::remove}) {
    EXPECT_EQ(stack.fast_faults.calls(verb), 0U);
  }
  EXPECT_EQ(stack.cache->describe(), "faulty over memory over faulty over memory");
}

TEST(BlockCache, TwoStoresNeverShareBlocks) {
  TierStack stack;
  stack.add("packs/a", 1000, 1);
  stack.text("packs/a");
  stack.settle();
  stack.options.store_name = "memory:other";
  stack.open();
  const std::string other = stack.add("packs/a", 1000, 2);
  EXPECT_TRUE(stack.text("packs/a") == other);
}

TEST(BlockCache, TheFirstFillMakesThePlaceATier) {
  TierStack stack;
  stack.add("packs/a", 1000);
  stack.text("packs/a");
  stack.settle();
  const auto marker = stack.fast->get(stack.context, TierStack::key(std::string(kTierMarkerName)),
                                      ByteRange::whole(), Freshness::any);
  ASSERT_TRUE(is_ok(marker));
  EXPECT_TRUE(is_ok(check_tier_marker(marker->bytes.view())));
}

// --- how much is fetched

TEST(BlockCache, NeighboursComeInOneRequestOf16MiBAtMost) {
  BlockCacheOptions options = test::small_blocks();
  options.block_bytes = 4 << 20;
  TierStack stack(options);
  const std::string text = stack.add("packs/a", 33 << 20);
  EXPECT_TRUE(stack.text("packs/a", ByteRange::of(0, 33 << 20)) == text);
  EXPECT_EQ(stack.fetches(), 3U);
}

TEST(BlockCache, OnlyWhatIsMissingIsFetched) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 8 * kBlock);
  for (const uint64_t block : {2, 5, 6})
    stack.touch("packs/a", ByteRange::of(block * kBlock + 7, 1));
  stack.settle();
  EXPECT_EQ(stack.fetches(), 3U);
  EXPECT_TRUE(stack.text("packs/a", ByteRange::of(0, 8 * kBlock)) == text);
  EXPECT_EQ(stack.fetches(), 6U) << "blocks 0-1, 3-4 and 7";
  EXPECT_EQ(stack.meter.miss_bytes, text.size()) << "each block once";
}

TEST(BlockCache, ASliceOfOneFetchIsNotCopied) {
  TierStack stack;
  stack.add("packs/a", 4 * kBlock);
  const auto below =
      stack.slow->get(stack.context, TierStack::key("packs/a"), ByteRange::whole(), Freshness::any);
  const auto got = stack.get("packs/a", ByteRange::of(100, 3 * kBlock));
  ASSERT_TRUE(below && got);
  EXPECT_EQ(got->bytes.data(), below->bytes.data() + 100);
}

TEST(BlockCache, AShortReadTakesTheHeaderAndItsPieces) {
  BlockCacheOptions options = test::small_blocks();
  options.block_bytes = 4 << 20;
  TierStack stack(options);
  const std::string text = stack.add("packs/a", 4 << 20);
  stack.touch("packs/a");
  stack.settle();
  uint64_t calls = stack.fast_faults.calls(Verb::get);
  EXPECT_EQ(stack.text("packs/a", ByteRange::of(3'000'000, 4096)), text.substr(3'000'000, 4096));
  EXPECT_EQ(stack.fast_faults.calls(Verb::get) - calls, 2U);
  calls = stack.fast_faults.calls(Verb::get);
  EXPECT_EQ(stack.text("packs/a", ByteRange::of(2'000'000, 4096)), text.substr(2'000'000, 4096));
  EXPECT_EQ(stack.fast_faults.calls(Verb::get) - calls, 1U) << "the header is known";
}

// --- blocks that are not what they say

class CorruptBlock : public ::testing::TestWithParam<bool> {
 protected:
  CorruptBlock() {
    text_ = stack_.add("packs/a", kBlock + 100'000);
    stack_.touch("packs/a");
    stack_.settle();
    name_ = stack_.blocks().at(1);
    good_ = std::string(as_text(block().view()));
  }
  static BlockCacheOptions options() {
    BlockCacheOptions options = test::small_blocks();
    options.reads_pieces = GetParam();
    options.breaker_failures = 1000;
    return options;
  }
  Buffer block() {
    return stack_.fast
        ->get(stack_.context, TierStack::key(name_), ByteRange::whole(), Freshness::any)
        .value()
        .bytes;
  }
  // The reader gets the right bytes, and the block is found, counted and replaced.
  void expect_found(const std::string& bad, const std::string& what) {
    const uint64_t corrupt = stack_.meter.corrupt;
    const uint64_t fetches = stack_.fetches();
    ASSERT_TRUE(is_ok(
        stack_.fast->put(stack_.context, TierStack::key(name_), Buffer(bad), PutMode::overwrite)));
    stack_.open();
    ASSERT_TRUE(stack_.text("packs/a") == text_) << what;
    EXPECT_EQ(stack_.meter.corrupt, corrupt + 1) << what;
    EXPECT_EQ(stack_.fetches(), fetches + 1) << what;
    stack_.settle();
    ASSERT_TRUE(as_text(block().view()) == good_) << what << ": filled again";
    ASSERT_TRUE(stack_.text("packs/a") == text_);
    EXPECT_EQ(stack_.fetches(), fetches + 1) << what;
  }

  TierStack stack_{options()};
  std::string text_;
  std::string name_;
  std::string good_;
};

INSTANTIATE_TEST_SUITE_P(Reads, CorruptBlock, ::testing::Bool());

TEST_P(CorruptBlock, AFlippedByteAnywhereIsFound) {
  std::vector<size_t> places = {0,  8,  12, 16, 20, 24,  32,   40,  48,
                                50, 52, 56, 64, 72, 100, 4080, 4095};
  places.insert(places.end(), {4096, 4096 + 65'535, 4096 + 65'536, good_.size() - 1});
  for (const size_t place : places) {
    std::string bad = good_;
    bad[place] = static_cast<char>(bad[place] ^ 0x20);
    expect_found(bad, "byte " + std::to_string(place));
  }
}

TEST_P(CorruptBlock, WhatIsCutOffOrTooLongIsFound) {
  for (const size_t size :
       {size_t{0}, size_t{10}, size_t{4095}, size_t{4096}, size_t{70'000}, good_.size() - 1}) {
    expect_found(good_.substr(0, size), "cut off at " + std::to_string(size));
  }
  expect_found(good_ + "x", "longer");
}

TEST_P(CorruptBlock, AnotherBlockInItsPlaceIsFound) {
  TierBlock block = parse_tier_header(as_bytes(good_)).value().block;
  const auto encoded = [&](const TierBlock& other) {
    const auto data = test::random_bytes(data_bytes_of(other), 77);
    return std::string(as_text(encode_tier_block(other, data).view()));
  };
  TierBlock other = block;
  other.number = 0;
  expect_found(encoded(other), "number");
  other = block;
  other.object = "packs/b";
  expect_found(encoded(other), "object");
  other = block;
  other.etag = "e";
  expect_found(encoded(other), "etag");
  other = block;
  other.full_bytes = 65'536;
  other.number = 2;
  expect_found(encoded(other), "block size");
}

// Well sealed blocks that disagree with each other: the store below has the last word.
TEST_P(CorruptBlock, BlocksThatContradictEachOtherAreNotMixed) {
  TierBlock block = parse_tier_header(as_bytes(good_)).value().block;
  block.object_bytes += 5;
  const auto data = test::random_bytes(data_bytes_of(block), 77);
  ASSERT_TRUE(is_ok(stack_.fast->put(stack_.context, TierStack::key(name_),
                                     Buffer(encode_tier_block(block, data)), PutMode::overwrite)));
  stack_.open();
  EXPECT_TRUE(stack_.text("packs/a") == text_);
}

TEST(BlockCache, AWarmHeaderDoesNotHideWhatHappenedToTheData) {
  TierStack stack;
  const std::string text = stack.add("packs/a", kBlock);
  stack.touch("packs/a");
  stack.settle();
  EXPECT_TRUE(stack.text("packs/a") == text);
  stack.fast_faults.change_get(1, test::with_flipped_byte(5));
  EXPECT_TRUE(stack.text("packs/a") == text);
  EXPECT_EQ(stack.meter.corrupt, 1U);
  stack.settle();
  EXPECT_TRUE(stack.text("packs/a") == text);
  stack.fast_faults.change_get(1, test::truncated_to(1000));
  EXPECT_TRUE(stack.text("packs/a") == text);
  EXPECT_EQ(stack.meter.corrupt, 2U);
}

TEST(BlockCache, AShortAnswerFromBelowNeverEnters) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 2 * kBlock);
  stack.slow_faults.change_get(1, test::truncated_to(kBlock + 5));
  EXPECT_TRUE(fails_with(Code::unavailable, stack.get("packs/a", ByteRange::of(0, 2 * kBlock))));
  stack.settle();
  EXPECT_THAT(stack.blocks(), IsEmpty());
  EXPECT_TRUE(stack.text("packs/a") == text);
}

// --- past the tier

TEST(BlockCache, OriginAsksBelowAndRemovesTheBlocksItCovers) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 4 * kBlock);
  stack.touch("packs/a");
  stack.settle();
  ASSERT_THAT(stack.blocks(), SizeIs(4));
  const uint64_t fetches = stack.fetches();
  EXPECT_TRUE(stack.text("packs/a", ByteRange::of(kBlock + 1, kBlock), Freshness::origin) ==
              text.substr(kBlock + 1, kBlock));
  EXPECT_EQ(stack.fetches(), fetches + 1);
  ASSERT_THAT(stack.blocks(), SizeIs(2));
  EXPECT_TRUE(stack.blocks()[0].ends_with("/0"));
  EXPECT_TRUE(stack.blocks()[1].ends_with("/3"));
  EXPECT_TRUE(stack.text("packs/a", ByteRange::whole(), Freshness::origin) == text);
  EXPECT_THAT(stack.blocks(), IsEmpty());
}

TEST(BlockCache, OriginRemovesWhatIsStillToBeWritten) {
  TierStack stack;
  std::latch go(1);
  stack.fast_faults.on_call([&](const Call& call) -> Result<> {
    if (call.verb == Verb::put && call.when == When::before) go.wait();
    return {};
  });
  const std::string text = stack.add("packs/a", 3 * kBlock);
  stack.touch("packs/a", ByteRange::of(0, 3 * kBlock));
  EXPECT_TRUE(stack.text("packs/a", ByteRange::of(0, 2 * kBlock), Freshness::origin) ==
              text.substr(0, 2 * kBlock));
  go.count_down();
  stack.settle();
  ASSERT_THAT(stack.blocks(), SizeIs(1));
  EXPECT_TRUE(stack.blocks()[0].ends_with("/2"));
  EXPECT_EQ(stack.meter.fills, 1U);
  EXPECT_EQ(stack.meter.fills_dropped, 2U);
}

// --- many threads

template <class Work>
void race(int count, const Work& work) {
  std::latch start(count);
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      work(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(BlockCacheThreads, ABucketIsAskedForAllBlocksOfAReadAtOnce) {
  BlockCacheOptions options = test::small_blocks();
  options.reads_pieces = false;
  TierStack stack(options);
  const std::string text = stack.add("packs/a", 5 * kBlock);
  stack.touch("packs/a");
  stack.settle();
  stack.touch("packs/a", ByteRange::of(4 * kBlock, kBlock));  // it is a tier that answers
  // Each look waits for the others: one after another they would wait for ever (here: for as long
  // as a read of the tier may take, and then be failures).
  std::latch under_way(4);
  stack.fast_faults.on_call([&](const Call& call) -> Result<> {
    if (call.verb == Verb::get && call.when == When::before) under_way.arrive_and_wait();
    return {};
  });
  EXPECT_TRUE(stack.text("packs/a", ByteRange::of(0, 4 * kBlock)) == text.substr(0, 4 * kBlock));
  EXPECT_EQ(stack.meter.hits, 5U);
}

TEST(BlockCacheThreads, OneFetchHoweverManyWait) {
  BlockCacheOptions options = test::small_blocks();
  options.block_bytes = 4 << 20;
  for (int round = 0; round < 20; ++round) {
    TierStack stack(options);
    const std::string text = stack.add("packs/a", 9 << 20);
    race(64, [&](int) {
      ASSERT_TRUE(stack.text("packs/a", ByteRange::of(4 << 20, 4 << 20)) ==
                  text.substr(4 << 20, 4 << 20));
    });
    ASSERT_EQ(stack.fetches(), 1U);
    ASSERT_EQ(stack.meter.misses, 1U);
    ASSERT_EQ(stack.meter.hits + stack.meter.shared, 63U);
  }
}

TEST(BlockCacheThreads, OverlappingReadsFetchEachBlockOnce) {
  for (int round = 0; round < 20; ++round) {
    TierStack stack;
    const std::string text = stack.add("packs/a", 40 * kBlock);
    race(16, [&](int i) {
      const auto first = static_cast<size_t>(i) * 2;
      ASSERT_TRUE(stack.text("packs/a", ByteRange::of(first * kBlock, 8 * kBlock)) ==
                  text.substr(first * kBlock, 8 * kBlock));
    });
    ASSERT_EQ(stack.meter.misses, 38U);
    ASSERT_EQ(stack.meter.miss_bytes, 38 * kBlock);
  }
}

// Holds back the first fetch until told.
class HeldFetch {
 public:
  explicit HeldFetch(
      TierStack& stack, std::function<Result<>()> then = [] { return Result<>(); }) {
    stack.slow_faults.on_call([this, then = std::move(then)](const Call& call) -> Result<> {
      if (call.verb != Verb::get || call.when != When::before || call.number != 1) return {};
      begun.count_down();
      go.wait();
      return then();
    });
  }
  std::latch begun{1};
  std::latch go{1};
};

TEST(BlockCacheThreads, WhenTheOneThatFetchesIsStoppedAnotherTakesOver) {
  TierStack stack;
  const std::string text = stack.add("packs/a", kBlock);
  StopFlag stop;
  HeldFetch held(stack, [&] { return Context(stop).alive(); });
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    const Context stopped(stop);
    EXPECT_TRUE(fails_with(Code::cancelled, stack.cache->get(stopped, TierStack::key("packs/a"),
                                                             ByteRange::whole(), Freshness::any)));
  });
  held.begun.wait();
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { EXPECT_TRUE(stack.text("packs/a") == text); });
  }
  stop.stop();
  held.go.count_down();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stack.fetches(), 2U);
}

TEST(BlockCacheThreads, AWaiterKeepsItsOwnDeadline) {
  TierStack stack;
  const std::string text = stack.add("packs/a", kBlock);
  HeldFetch held(stack);
  std::thread leader([&] { EXPECT_TRUE(stack.text("packs/a") == text); });
  held.begun.wait();
  const Context soon = stack.context.within(std::chrono::milliseconds(10));
  EXPECT_TRUE(fails_with(Code::timeout, stack.cache->get(soon, TierStack::key("packs/a"),
                                                         ByteRange::whole(), Freshness::any)));
  held.go.count_down();
  leader.join();
  EXPECT_EQ(stack.fetches(), 1U);
}

TEST(BlockCacheThreads, AFailureOfTheStoreIsTriedOnceMoreAndNeverRemembered) {
  TierStack stack;
  const std::string text = stack.add("packs/a", kBlock);
  stack.slow_faults.fail(Verb::get, 1, When::before, Error(Code::unavailable, "scripted"));
  std::atomic<int> failed{0};
  race(8, [&](int) {
    const auto got = stack.get("packs/a");
    if (got) {
      EXPECT_TRUE(as_text(got->bytes.view()) == text);
    } else {
      EXPECT_EQ(got.error().code(), Code::unavailable);
      ++failed;
    }
  });
  EXPECT_EQ(failed, 1) << "the one that asked";
  EXPECT_EQ(stack.fetches(), 2U);
}

TEST(BlockCacheThreads, AnOutageFailsAllWithoutOneTryForEach) {
  TierStack stack;
  stack.add("packs/a", kBlock);
  HeldFetch held(stack);
  stack.slow_faults.fail_all(Error(Code::unavailable, "scripted"));
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  const auto read = [&] {
    if (fails_with(Code::unavailable, stack.get("packs/a"))) ++failed;
  };
  threads.emplace_back(read);
  held.begun.wait();
  for (int i = 0; i < 15; ++i) threads.emplace_back(read);
  held.go.count_down();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 16);
  stack.slow_faults.heal();
  EXPECT_TRUE(is_ok(stack.get("packs/a")));
}

TEST(BlockCacheThreads, WhatIsNotThereIsSaidToAll) {
  TierStack stack;
  race(8, [&](int) { EXPECT_TRUE(fails_with(Code::not_found, stack.get("packs/a"))); });
  const std::string text = stack.add("packs/a", 100);
  EXPECT_EQ(stack.text("packs/a"), text) << "and not remembered";
}

TEST(BlockCacheThreads, AReaderThatGivesUpDoesNotUndoTheFill) {
  TierStack stack;
  stack.add("packs/a", kBlock);
  StopFlag stop;
  const Context reader(stop);
  std::latch go(1);
  stack.fast_faults.on_call([&](const Call& call) -> Result<> {
    if (call.verb == Verb::put && call.when == When::before) go.wait();
    return {};
  });
  ASSERT_TRUE(is_ok(
      stack.cache->get(reader, TierStack::key("packs/a"), ByteRange::whole(), Freshness::any)));
  stop.stop();
  go.count_down();
  stack.settle();
  EXPECT_THAT(stack.blocks(), SizeIs(1));
}

// Versions come and go; a reader that pins one sees it whole or not at all.
TEST(BlockCacheThreads, TwoVersionsNeverMix) {
  const uint64_t seed = test::fresh_seed();
  SCOPED_TRACE(seed);
  TierStack stack;
  const auto text_of = [](size_t version) {
    return std::string(3 * kBlock + version * 1000, static_cast<char>('a' + version));
  };
  const auto replace = [&](size_t version) {
    ASSERT_TRUE(is_ok(stack.slow->put(stack.context, TierStack::key("x"), Buffer(text_of(version)),
                                      PutMode::overwrite)));
  };
  replace(0);
  std::atomic<bool> done{false};
  std::atomic<int> whole{0};
  race(5, [&](int i) {
    test::TestRandom random(seed + static_cast<uint64_t>(i));
    if (i == 0) {
      for (size_t version = 1; whole < 200 || version < 50; ++version) replace(version % 20);
      done = true;
      return;
    }
    while (!done) {
      const ObjectVersion version = stack.version("x");
      const uint64_t offset = random.below(version.size_bytes);
      const auto got = stack.get("x", ByteRange::of(offset, UINT64_MAX), {Freshness::any, version});
      if (!got) {
        ASSERT_EQ(got.error().code(), Code::not_found) << got.error().text();
        continue;
      }
      ++whole;
      const std::string_view seen = as_text(got->bytes.view());
      ASSERT_EQ(seen.size(), version.size_bytes - offset);
      const auto letter = static_cast<char>('a' + (version.size_bytes - 3 * kBlock) / 1000);
      ASSERT_EQ(seen.find_first_not_of(letter), std::string_view::npos);
    }
  });
  EXPECT_EQ(stack.meter.corrupt, 0U);
}

}  // namespace
}  // namespace thaw
