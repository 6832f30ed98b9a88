#include "object/disk_tier.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <latch>

#include "base/fd.h"
#include "format/tier_block.h"
#include "object/block_cache.h"
#include "object/block_names.h"
#include "object/disk.h"
#include "support/result_check.h"
#include "support/temp_dir.h"
#include "support/tier_stack.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;
using test::TierStack;
using test::Verb;
using test::When;
using ::testing::ElementsAre;

constexpr size_t kBlock = 128 * 1024;

class DiskTierTest : public ::testing::Test {
 protected:
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }
  void make(const std::string& name, const std::string& text = "") {
    std::filesystem::create_directories(std::filesystem::path(path_of(name)).parent_path());
    test::write_text(path_of(name), text);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& each : std::filesystem::directory_iterator(path_)) {
      names.push_back(each.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  // A tier of this directory over a store, as another process would have it.
  std::unique_ptr<ObjectStore> cache_over(ObjectStore& slow) {
    DiskTier tier = open_disk_tier(path_).value();
    return block_cache(test::borrowed(slow), std::move(tier.store), std::move(tier.claims),
                       options_, meter_, context_);
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.path_of("tier");
  BlockCacheOptions options_ = test::small_blocks();
  TierMeter meter_;
  const Context context_;
};

// --- which directories are tiers

TEST_F(DiskTierTest, AMissingOneIsLeftMissingUntilTheFirstFill) {
  TierStack stack;
  const std::string text = stack.add("packs/a", kBlock);
  {
    const auto cache = cache_over(*stack.slow);
    EXPECT_FALSE(std::filesystem::exists(path_));
    EXPECT_TRUE(
        is_ok(cache->get(context_, TierStack::key("packs/a"), ByteRange::whole(), Freshness::any)));
  }
  EXPECT_THAT(names(), ElementsAre(".tmp", "blocks", "claims", "thaw-tier.json"));
  EXPECT_EQ(test::read_text(path_of("thaw-tier.json")), as_text(encode_tier_marker().view()));
  EXPECT_TRUE(is_ok(open_disk_tier(path_)));
  const auto again = cache_over(*stack.slow);
  const auto got =
      again->get(context_, TierStack::key("packs/a"), ByteRange::whole(), Freshness::any);
  ASSERT_TRUE(is_ok(got));
  EXPECT_TRUE(as_text(got->bytes.view()) == text);
  EXPECT_EQ(meter_.hits, 1U) << "a restart finds it warm";
}

TEST_F(DiskTierTest, AnEmptyOneMayBecomeATier) {
  std::filesystem::create_directories(path_of("lost+found"));
  EXPECT_TRUE(is_ok(open_disk_tier(path_)));
  EXPECT_TRUE(is_ok(open_disk_tier(path_ + "//")));
  EXPECT_THAT(names(), ElementsAre("lost+found"));
}

TEST_F(DiskTierTest, OneWithForeignFilesIsRefused) {
  for (const char* name : {"notes.txt", "blocks/mine", "thaw.json", ".hidden", "blocks/0123/x"}) {
    make(name);
    const auto opened = open_disk_tier(path_);
    EXPECT_TRUE(fails_with(Code::invalid, opened)) << name;
    if (!opened) {
      EXPECT_NE(opened.error().text().find("no thaw tier's"), std::string::npos);
    }
    std::filesystem::remove_all(path_);
  }
}

TEST_F(DiskTierTest, WithItsMarkerItMayHoldAnything) {
  make("thaw-tier.json", std::string(as_text(encode_tier_marker().view())));
  make("notes.txt");
  EXPECT_TRUE(is_ok(open_disk_tier(path_)));
}

TEST_F(DiskTierTest, ABrokenOrNewerMarkerIsRefused) {
  for (const char* text : {"what", "{}", "{\"kind\":\"thaw-tier\",\"format\":2}"}) {
    make("thaw-tier.json", text);
    EXPECT_TRUE(fails_with(Code::invalid, open_disk_tier(path_))) << text;
  }
}

TEST_F(DiskTierTest, AnEmptyMarkerIsOneThatAPowerCutLeft) {
  make("blocks/0123456789abcdef/packs/a/@/once-4096/0");
  make("thaw-tier.json", "");
  EXPECT_TRUE(is_ok(open_disk_tier(path_)));
  make("thaw-tier.json", "");
  make("photo.jpg", "mine");
  EXPECT_TRUE(fails_with(Code::invalid, open_disk_tier(path_)));
}

TEST_F(DiskTierTest, OneThatSomebodyEmptiedWhileItWasUsedIsStillOne) {
  make("blocks/0123456789abcdef/packs/a/@/once-4096/0");
  make("claims");
  make("index.sqlite");
  make("index.sqlite-wal");
  make("index.sqlite-shm");
  make(".tmp/x");
  EXPECT_TRUE(is_ok(open_disk_tier(path_)));
}

TEST_F(DiskTierTest, AFileIsNoTier) {
  test::write_text(path_, "x");
  EXPECT_TRUE(fails_with(Code::invalid, open_disk_tier(path_)));
  EXPECT_TRUE(fails_with(Code::invalid, open_disk_tier("")));
}

// --- claims

TEST_F(DiskTierTest, AClaimExcludesOthersUntilItEnds) {
  const auto mine = open_disk_tier(path_).value().claims;
  const auto theirs = open_disk_tier(path_).value().claims;
  auto claim = mine->try_claim("a");
  ASSERT_TRUE(is_ok(claim));
  ASSERT_NE(*claim, nullptr);
  for (BlockClaims* claims : {mine.get(), theirs.get()}) {
    const auto second = claims->try_claim("a");
    ASSERT_TRUE(is_ok(second));
    EXPECT_EQ(*second, nullptr);
  }
  const auto other = theirs->try_claim("b");
  ASSERT_TRUE(is_ok(other));
  EXPECT_NE(*other, nullptr) << "another block is free";
  claim->reset();
  const auto third = theirs->try_claim("a");
  ASSERT_TRUE(is_ok(third));
  EXPECT_NE(*third, nullptr);
}

TEST_F(DiskTierTest, WhereNothingCanBeClaimedThatIsAnError) {
  const auto tier = open_disk_tier(dir_.path_of("later"));
  ASSERT_TRUE(is_ok(tier));
  test::write_text(dir_.path_of("later"), "a file in its place");
  EXPECT_FALSE(tier->claims->try_claim("a"));
  EXPECT_TRUE(fails_with(Code::invalid, open_disk_tier(dir_.path_of("later/below"))));
}

TEST_F(DiskTierTest, ProcessesFetchABlockOnce) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 8 * kBlock);
  test::Faults faults;
  const auto slow = test::faulty(test::borrowed(*stack.slow), faults);
  constexpr int kProcesses = 4;
  options_.claim_wait = std::chrono::minutes(5);
  std::vector<std::unique_ptr<ObjectStore>> caches;
  for (int i = 0; i < kProcesses; ++i) caches.push_back(cache_over(*slow));
  std::latch start(kProcesses);
  std::vector<std::thread> threads;
  for (const auto& cache : caches) {
    threads.emplace_back([&] {
      start.arrive_and_wait();
      for (uint64_t block = 0; block < 8; ++block) {
        const auto got = cache->get(context_, TierStack::key("packs/a"),
                                    ByteRange::of(block * kBlock, kBlock), Freshness::any);
        ASSERT_TRUE(is_ok(got));
        ASSERT_TRUE(as_text(got->bytes.view()) == text.substr(block * kBlock, kBlock));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(faults.calls(Verb::get), 8U);
  EXPECT_EQ(meter_.misses, 8U);
}

TEST_F(DiskTierTest, AClaimantThatTakesTooLongIsNotWaitedFor) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 2 * kBlock);
  options_.claim_wait = std::chrono::milliseconds(10);
  const auto cache = cache_over(*stack.slow);
  const auto claims = open_disk_tier(path_).value().claims;
  const auto names = BlockNames::of(options_.store_name, TierStack::key("packs/a"), std::nullopt,
                                    options_.block_bytes);
  const auto claim = claims->try_claim(names->block(1).text());
  ASSERT_TRUE(claim && *claim);
  const auto got =
      cache->get(context_, TierStack::key("packs/a"), ByteRange::of(0, 2 * kBlock), Freshness::any);
  ASSERT_TRUE(is_ok(got));
  EXPECT_TRUE(as_text(got->bytes.view()) == text);
}

// However long claims may be waited for, a part of the reader's own time is left for the store.
TEST_F(DiskTierTest, AReaderThatWaitsForAClaimKeepsTimeForTheStore) {
  TierStack stack;
  const std::string text = stack.add("packs/a", kBlock);
  options_.claim_wait = std::chrono::hours(1);
  const auto cache = cache_over(*stack.slow);
  const auto claims = open_disk_tier(path_).value().claims;
  const auto names = BlockNames::of(options_.store_name, TierStack::key("packs/a"), std::nullopt,
                                    options_.block_bytes);
  const auto claim = claims->try_claim(names->block(0).text());
  ASSERT_TRUE(claim && *claim);
  const Context soon = context_.within(std::chrono::seconds(4));
  const auto got = cache->get(soon, TierStack::key("packs/a"), ByteRange::whole(), Freshness::any);
  ASSERT_TRUE(is_ok(got));
  EXPECT_TRUE(as_text(got->bytes.view()) == text);
}

// A process that dies while it fetches leaves nothing behind that stops others.
TEST_F(DiskTierTest, ADeadClaimantStopsNobody) {
  TierStack stack;
  const std::string text = stack.add("packs/a", kBlock);
  const auto names = BlockNames::of(options_.store_name, TierStack::key("packs/a"), std::nullopt,
                                    options_.block_bytes);
  const std::string block = names->block(0).text();
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto claims = open_disk_tier(path_).value().claims;
    const auto claim = claims->try_claim(block);
    const char answer = claim && *claim ? 'y' : 'n';
    if (::write(ready[1], &answer, 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  ::close(ready[0]);
  ::close(ready[1]);
  ASSERT_EQ(answer, 'y');
  const auto claims = open_disk_tier(path_).value().claims;
  const auto busy = claims->try_claim(block);
  ASSERT_TRUE(is_ok(busy));
  EXPECT_EQ(*busy, nullptr);

  // Only the death of the claimant ends this wait.
  options_.claim_wait = std::chrono::hours(1);
  const auto cache = cache_over(*stack.slow);
  std::thread reader([&] {
    const auto got =
        cache->get(context_, TierStack::key("packs/a"), ByteRange::whole(), Freshness::any);
    ASSERT_TRUE(is_ok(got));
    EXPECT_TRUE(as_text(got->bytes.view()) == text);
  });
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  reader.join();
}

// --- faults of the directory

TEST_F(DiskTierTest, ADirectoryThatVanishesIsMadeAnew) {
  TierStack stack;
  const std::string text = stack.add("packs/a", 4 * kBlock);
  const auto cache = cache_over(*stack.slow);
  for (uint64_t block = 0; block < 4; ++block) {
    const auto got = cache->get(context_, TierStack::key("packs/a"),
                                ByteRange::of(block * kBlock, kBlock), Freshness::any);
    ASSERT_TRUE(is_ok(got));
    EXPECT_TRUE(as_text(got->bytes.view()) == text.substr(block * kBlock, kBlock));
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  EXPECT_TRUE(is_ok(open_disk_tier(path_)));
}

TEST_F(DiskTierTest, TheBoundHoldsAcrossRestarts) {
  TierStack stack;
  options_.max_bytes = 3 * (kBlock + 4096);
  for (const char* name : {"packs/a", "packs/b", "packs/c", "packs/d", "packs/e"}) {
    const std::string text = stack.add(name, kBlock);
    const auto got = cache_over(*stack.slow)
                         ->get(context_, TierStack::key(name), ByteRange::whole(), Freshness::any);
    ASSERT_TRUE(is_ok(got));
    EXPECT_TRUE(as_text(got->bytes.view()) == text);
  }
  EXPECT_EQ(meter_.fills, 5U);
  uint64_t held = 0;
  for (const auto& each : std::filesystem::recursive_directory_iterator(path_ + "/blocks"))
    held += each.is_regular_file() ? each.file_size() : 0;
  EXPECT_LE(held, options_.max_bytes);
  EXPECT_GT(held, 0U);
}

}  // namespace
}  // namespace thaw
