// Tiers that are dead, slow, full, damaged or closed, over stores that fail: no wrong byte, and no
// read that fails for the tier's sake.
#include <gmock/gmock.h>

#include <atomic>
#include <latch>

#include "object/disk_tier.h"
#include "object/object_reader.h"
#include "support/result_check.h"
#include "support/temp_dir.h"
#include "support/tier_stack.h"

namespace thaw {
namespace {

using std::chrono::milliseconds;
using test::Call;
using test::fails_with;
using test::is_ok;
using test::TierStack;
using test::Verb;
using test::When;
using ::testing::SizeIs;

constexpr size_t kBlock = 128 * 1024;

// Reads a long object block by block, as a restore does.
void read_all(TierStack& stack, const std::string& text) {
  for (size_t at = 0; at < text.size(); at += kBlock) {
    ASSERT_TRUE(stack.text("packs/a", ByteRange::of(at, kBlock)) == text.substr(at, kBlock)) << at;
  }
}

// What a backend does that waits for an answer which never comes.
Result<> hang(const Context& context) {
  while (true) {
    THAW_CHECK(context.alive());
    std::this_thread::yield();
  }
}

// Gets and puts of this store never answer before their context ends.
class BlackHole final : public ObjectStore {
 public:
  Result<Fetched> get(const Context& context, const ObjectKey&, ByteRange, const Wanted&) override {
    ++asked;
    return hang(context).error();
  }
  Result<PutOutcome> put(const Context& context, const ObjectKey&, Buffer, PutMode) override {
    ++asked;
    return hang(context).error();
  }
  Result<std::optional<ObjectInfo>> find(const Context& context, const ObjectKey&) override {
    return hang(context).error();
  }
  Result<ListPage> list(const Context& context, std::string_view, ListOptions) override {
    return hang(context).error();
  }
  Result<> remove(const Context& context, std::span<const ObjectKey>) override {
    return hang(context);
  }
  std::string describe() const override { return "black hole"; }

  std::atomic<int> asked{0};
};

TEST(TierFault, ADeadTierIsSteppedOver) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 50 * kBlock);
  stack.fast_faults.fail_all(Error(Code::unavailable, "scripted"));
  read_all(stack, text);
  EXPECT_EQ(stack.meter.failures, 3U) << "then the breaker is open";
  EXPECT_EQ(stack.meter.stepped_over, 47U);
  // Each thread that fills asks for the marker, too.
  EXPECT_LE(stack.fast_faults.calls(Verb::get), 3U + test::small_blocks().fill_threads);
  EXPECT_EQ(stack.fetches(), 50U) << "each block once";
}

TEST(TierFault, ATierThatNeverAnswersCostsItsTimeoutAFewTimes) {
  BlockCacheOptions options = test::small_blocks();
  options.read_timeout = milliseconds(5);
  options.drain_time = milliseconds(5);
  auto hole = std::make_unique<BlackHole>();
  const BlackHole& seen = *hole;
  TierStack stack(options, std::move(hole));
  const std::string text = stack.add("packs/a", 50 * kBlock);
  read_all(stack, text);
  EXPECT_EQ(stack.meter.failures, 3U);
  // Each thread that fills asks for the marker, too.
  EXPECT_LE(stack.fast_faults.calls(Verb::get), 3U + options.fill_threads);
  EXPECT_GE(seen.asked, 3);
  stack.cache.reset();
  EXPECT_EQ(stack.meter.fills, 0U);
  EXPECT_GT(stack.meter.fills_dropped, 0U);
}

// However long a tier may take, a reader in a hurry has its answer from the store.
TEST(TierFault, ASilentTierLeavesAReaderTimeForTheStore) {
  BlockCacheOptions options = test::small_blocks();
  options.read_timeout = std::chrono::hours(1);
  options.fill_timeout = milliseconds(5);
  options.drain_time = milliseconds(5);
  TierStack stack(options, std::make_unique<BlackHole>());
  const std::string text = stack.add("packs/a", kBlock);
  const Context soon = stack.context.within(milliseconds(2000));
  const auto got =
      stack.cache->get(soon, TierStack::key("packs/a"), ByteRange::whole(), Freshness::any);
  ASSERT_TRUE(is_ok(got));
  EXPECT_TRUE(as_text(got->bytes.view()) == text);
  EXPECT_EQ(stack.meter.failures, 1U);
}

TEST(TierFault, ATierThatComesBackIsUsedAgain) {
  BlockCacheOptions options = test::small_blocks();
  options.breaker_rest = milliseconds(0);
  TierStack stack(options);
  const std::string text = stack.add("packs/a", 10 * kBlock);
  read_all(stack, text);
  stack.settle();
  stack.fast_faults.fail_all(Error(Code::unavailable, "scripted"));
  read_all(stack, text);
  stack.fast_faults.heal();
  const uint64_t fetches = stack.fetches();
  read_all(stack, text);
  EXPECT_EQ(stack.fetches(), fetches);
}

TEST(TierFault, ATierThatDeniesWritesIsSteppedOver) {
  TierStack stack;
  stack.fast_faults.on_call([](const Call& call) -> Result<> {
    if (call.verb == Verb::put) return Error(Code::denied, "scripted");
    return {};
  });
  const std::string text = stack.add("packs/a", 50 * kBlock);
  for (size_t at = 0; at < text.size(); at += kBlock) {
    ASSERT_TRUE(stack.text("packs/a", ByteRange::of(at, kBlock)) == text.substr(at, kBlock));
    // Until this fill has failed, or was dropped.
    const uint64_t read = at / kBlock + 1;
    while (stack.meter.fills_failed + stack.meter.fills_dropped < read) std::this_thread::yield();
  }
  EXPECT_EQ(stack.meter.fills_failed, 3U);
  EXPECT_EQ(stack.meter.fills_dropped, 47U);
  EXPECT_EQ(stack.meter.stepped_over, 47U) << "a cold tier that takes nothing is not worth asking";
  EXPECT_EQ(stack.fetches(), 50U);
}

TEST(TierFault, AFullTierStillServesWhatItHas) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 20 * kBlock);
  for (size_t at = 0; at < 10 * kBlock; at += kBlock) stack.touch("packs/a", ByteRange::of(at, 1));
  stack.settle();
  stack.fast_faults.on_call([](const Call& call) -> Result<> {
    if (call.verb == Verb::put) return Error(Code::exhausted, "no space left on device");
    return {};
  });
  for (size_t block = 0; block < 10; ++block) {
    for (const size_t at : {block * kBlock, (block + 10) * kBlock}) {
      ASSERT_TRUE(stack.text("packs/a", ByteRange::of(at, kBlock)) == text.substr(at, kBlock));
    }
    while (stack.meter.fills_failed + stack.meter.fills_dropped <= block) std::this_thread::yield();
  }
  EXPECT_EQ(stack.meter.hits, 10U);
  EXPECT_EQ(stack.meter.stepped_over, 0U);
}

TEST(TierFault, ATierThatDamagesEverythingIsSteppedOver) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 50 * kBlock);
  read_all(stack, text);
  stack.settle();
  for (uint64_t number = 1; number < 1000; ++number) {
    stack.fast_faults.change_get(number, test::with_flipped_byte(100));
  }
  read_all(stack, text);
  EXPECT_EQ(stack.meter.corrupt, 3U);
  EXPECT_EQ(stack.meter.stepped_over, 47U);
}

TEST(TierFault, ATierThatCannotRemoveIsNoTrouble) {
  TierStack stack;
  stack.fast_faults.on_call([](const Call& call) -> Result<> {
    if (call.verb == Verb::remove) return Error(Code::denied, "scripted");
    return {};
  });
  const std::string text = stack.add("packs/a", 2 * kBlock);
  read_all(stack, text);
  stack.settle();
  stack.fast_faults.change_get(1, test::with_flipped_byte(0));
  read_all(stack, text);
  EXPECT_TRUE(stack.text("packs/a", ByteRange::whole(), Freshness::origin) == text);
  EXPECT_TRUE(stack.text("packs/a", ByteRange::of(0, 5), Freshness::origin) == text.substr(0, 5));
  EXPECT_EQ(stack.meter.corrupt, 1U);
}

TEST(TierFault, ClaimsThatFailAreDoneWithout) {
  class NoClaims final : public BlockClaims {
   public:
    Result<std::unique_ptr<Claim>> try_claim(std::string_view) override {
      return Error(Code::denied, "scripted");
    }
  };
  TierStack stack;
  stack.open(std::make_unique<NoClaims>());
  const std::string text = stack.add("packs/a", 5 * kBlock);
  read_all(stack, text);
  EXPECT_EQ(stack.fetches(), 5U);
}

TEST(TierFault, AStoreThatFailsFailsOnlyWhatTheTierLacks) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 4 * kBlock);
  stack.touch("packs/a", ByteRange::of(0, 2 * kBlock));
  stack.settle();
  for (const Code code : {Code::unavailable, Code::denied, Code::timeout, Code::internal}) {
    stack.slow_faults.heal();
    stack.slow_faults.fail_all(Error(code, "scripted"));
    EXPECT_TRUE(stack.text("packs/a", ByteRange::of(10, 2 * kBlock - 10)) ==
                text.substr(10, 2 * kBlock - 10));
    EXPECT_TRUE(fails_with(code, stack.get("packs/a", ByteRange::of(kBlock, 2 * kBlock))));
  }
  stack.slow_faults.heal();
  EXPECT_TRUE(stack.text("packs/a") == text);
}

// Threads, faults of both, restarts: every answer is right, or the store's own failure.
TEST(TierFault, NoScheduleOfFaultsGivesAWrongByte) {
  const uint64_t seed = test::fresh_seed();
  SCOPED_TRACE(seed);
  const test::TempDir dir;
  for (uint64_t round = 0; round < 6; ++round) {
    BlockCacheOptions options = test::small_blocks();
    options.reads_pieces = round % 2 == 0;
    options.breaker_rest = milliseconds(1);
    options.fill_queue_bytes = 10 * kBlock;
    options.claim_wait = milliseconds(5);
    const std::string place = dir.path_of(std::to_string(round));
    TierStack stack(options, open_disk_tier(place).value().store);
    stack.open(open_disk_tier(place).value().claims);
    const std::string text = stack.add("packs/a", 30 * kBlock + 777, seed);
    std::atomic<uint64_t> draws{seed + round};
    const auto one_in = [&](uint64_t n) { return test::TestRandom(++draws).below(n) == 0; };
    stack.fast_faults.on_call([&](const Call&) -> Result<> {
      if (one_in(10)) return Error(Code::unavailable, "scripted");
      return {};
    });
    for (uint64_t number = 7; number < 3000; number += 7) {
      stack.fast_faults.change_get(
          number, number % 2 == 0 ? test::truncated_to(number * 40) : [](const Buffer& bytes) {
            return bytes.empty() ? bytes : test::with_flipped_byte(bytes.size() / 3)(bytes);
          });
    }
    stack.slow_faults.on_call([&](const Call& call) -> Result<> {
      if (call.when == When::after && one_in(15)) return Error(Code::unavailable, "scripted");
      return {};
    });
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < 6; ++i) {
      threads.emplace_back([&, i] {
        test::TestRandom random(seed * 31 + i);
        for (int reads = 0; reads < 150; ++reads) {
          const uint64_t offset = random.below(text.size());
          const uint64_t length = random.below(5 * kBlock);
          const Freshness who = random.below(20) == 0 ? Freshness::origin : Freshness::any;
          const auto got = stack.get("packs/a", ByteRange::of(offset, length), who);
          if (got) {
            ASSERT_TRUE(as_text(got->bytes.view()) ==
                        std::string_view(text).substr(offset, length));
          } else {
            ASSERT_EQ(got.error().code(), Code::unavailable) << got.error().text();
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    stack.fast_faults.heal();
    stack.slow_faults.heal();
    stack.open();
    EXPECT_TRUE(stack.text("packs/a") == text);
  }
}

// The raw lane over two tiers: what it streams is of one version, or it says that it changed.
TEST(TierFault, ARawObjectThatIsReplacedIsNeverMixed) {
  const test::TempDir dir;
  const Context context;
  BlockCacheOptions options = test::small_blocks();
  TierStack stack(options, open_disk_tier(dir.path_of("tier")).value().store);
  const auto put = [&](size_t version) {
    const std::string text(5'000'000 + version * 1000, static_cast<char>('a' + version));
    ASSERT_TRUE(
        is_ok(stack.slow->put(context, TierStack::key("x"), Buffer(text), PutMode::overwrite)));
  };
  put(0);
  std::atomic<bool> done{false};
  std::atomic<int> whole{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!done) {
        const auto reader = open_object(context, *stack.cache, TierStack::key("x"));
        ASSERT_TRUE(is_ok(reader));
        const auto version = ((*reader)->info().size_bytes - 5'000'000) / 1000;
        std::string seen;
        const auto ended = (*reader)->stream(context, 0, UINT64_MAX, [&](Bytes bytes) -> Result<> {
          seen += as_text(bytes);
          return {};
        });
        ASSERT_EQ(seen.find_first_not_of(static_cast<char>('a' + version)), std::string::npos);
        if (ended) {
          ASSERT_EQ(seen.size(), (*reader)->info().size_bytes);
          ++whole;
        } else {
          ASSERT_EQ(ended.error().code(), Code::busy) << ended.error().text();
        }
      }
    });
  }
  for (size_t version = 1; version < 20 || whole < 20; ++version) put(version % 20);
  done = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace thaw
