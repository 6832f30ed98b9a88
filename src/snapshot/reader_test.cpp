#include "snapshot/reader.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>

#include "object/memory.h"
#include "object/metered.h"
#include "support/faulty_store.h"
#include "support/laid_snapshot.h"
#include "support/passing_store.h"
#include "support/random_bytes.h"
#include "support/result_check.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;
using test::Verb;
using test::When;

constexpr uint64_t kMiB = 1024 * 1024;

// Counts which gets ask for the origin.
class FreshnessStore final : public test::PassingStore {
 public:
  using PassingStore::PassingStore;
  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    if (wanted.freshness == Freshness::origin) ++origin_gets;
    return PassingStore::get(context, key, range, wanted);
  }
  std::atomic<uint64_t> origin_gets{0};
};

class ReaderTest : public ::testing::Test {
 protected:
  ReaderTest() {
    auto inner = std::make_unique<FreshnessStore>(make_memory_store());
    origin_ = inner.get();
    store_ = metered(test::faulty(std::move(inner), faults_), meter_);
  }

  // "bundled/1" and "2", "large" (4 MiB in one pack), "sparse" with a hole before, in and after.
  std::shared_ptr<SnapshotReader> open(ChunkCache& cache, bool read_ahead = false) {
    test::LaidSnapshot laid(*store_);
    ByteVector bundle;
    bundle.append(small_[0]);
    bundle.append(small_[1]);
    const uint32_t chunk = laid.add_chunk(bundle.view(), ChunkKind::bundle);
    laid.add_file("a", small_[0], {{0, chunk, 0, 1000}});
    laid.add_file("b", small_[1], {{0, chunk, 1000, 2000}});
    laid.end_pack();
    laid.add_chunked_file("large", large_, kMiB);
    laid.end_pack();
    const uint32_t pages = laid.add_chunk(Bytes(large_).first(8192));
    std::copy_n(large_.begin(), 4096, sparse_.begin() + 4096);
    std::copy_n(large_.begin() + 4096, 4096, sparse_.begin() + 20480);
    laid.add_file("sparse", sparse_, {{4096, pages, 0, 4096}, {20480, pages, 4096, 4096}});
    ReaderOptions options;
    options.read_ahead = read_ahead;
    auto reader = open_reader(*store_, laid.finish(), cache, options, context_);
    before_ = meter_.gets;
    return reader;
  }
  uint64_t gets() const { return meter_.gets - before_; }

  static Result<std::vector<uint8_t>> read(SnapshotReader& reader, const Context& context,
                                           std::string_view path, uint64_t offset, size_t length) {
    THAW_ASSIGN(const FileRef file, reader.find_file(path));
    std::vector<uint8_t> bytes(length, 0xee);
    THAW_ASSIGN(const size_t got, reader.read_at(context, file, offset, bytes));
    bytes.resize(got);
    return bytes;
  }
  void expect_read(SnapshotReader& reader, std::string_view path, Bytes whole, uint64_t offset,
                   size_t length) {
    const auto got = read(reader, context_, path, offset, length);
    ASSERT_TRUE(is_ok(got)) << path << " " << offset << "+" << length;
    const Bytes expected = whole.subspan(offset, std::min<size_t>(length, whole.size() - offset));
    EXPECT_TRUE(std::equal(got->begin(), got->end(), expected.begin(), expected.end()))
        << path << " " << offset << "+" << length;
  }

  const Context context_;
  test::Faults faults_;
  StoreMeter meter_;
  FreshnessStore* origin_ = nullptr;
  std::unique_ptr<ObjectStore> store_;
  uint64_t before_ = 0;
  const std::vector<std::vector<uint8_t>> small_{test::random_bytes(1000, 1),
                                                 test::random_bytes(2000, 2)};
  const std::vector<uint8_t> large_ = test::random_bytes(4 * kMiB, 3);
  std::vector<uint8_t> sparse_ = std::vector<uint8_t>(40'000, 0);
};

TEST_F(ReaderTest, ReadsAnyRange) {
  ChunkCache cache(64 * kMiB);
  const auto reader = open(cache);
  expect_read(*reader, "a", small_[0], 0, 1000);
  expect_read(*reader, "b", small_[1], 500, 700);
  expect_read(*reader, "large", large_, kMiB - 10, 20);
  expect_read(*reader, "large", large_, 3 * kMiB + 5, 8 * kMiB);
  expect_read(*reader, "large", large_, 0, 4 * kMiB);
  for (uint64_t offset = 0; offset <= 40'000; offset += 1000) {
    expect_read(*reader, "sparse", sparse_, offset, 7000);
  }
}

TEST_F(ReaderTest, SaysWhatIsNoRange) {
  ChunkCache cache(64 * kMiB);
  const auto reader = open(cache);
  expect_read(*reader, "a", small_[0], 1000, 10);
  expect_read(*reader, "a", small_[0], 10, 0);
  EXPECT_TRUE(fails_with(Code::invalid, read(*reader, context_, "a", 1001, 0)));
  EXPECT_TRUE(fails_with(Code::invalid, read(*reader, context_, "a", UINT64_MAX, 1)));
  uint8_t byte = 0;
  EXPECT_TRUE(fails_with(Code::invalid,
                         reader->read_at(context_, FileRef{77, 1}, 0, MutableBytes(&byte, 1))));
  EXPECT_TRUE(fails_with(Code::not_found, reader->find_file("nothing")));
  EXPECT_TRUE(fails_with(Code::invalid, reader->find_file("")));
  EXPECT_EQ(gets(), 0U);
}

TEST_F(ReaderTest, TellsTheRunsOfData) {
  ChunkCache cache(64 * kMiB);
  const auto reader = open(cache);
  const FileRef sparse = *reader->find_file("sparse");
  const std::vector<DataRun> all{{4096, 4096}, {20480, 4096}};
  EXPECT_EQ(reader->extents(sparse, 0, UINT64_MAX), all);
  EXPECT_EQ(reader->extents(sparse, 5000, 100), (std::vector<DataRun>{{5000, 100}}));
  EXPECT_EQ(reader->extents(sparse, 8000, 12481), (std::vector<DataRun>{{8000, 192}, {20480, 1}}));
  EXPECT_TRUE(reader->extents(sparse, 8192, 100).empty());
  EXPECT_TRUE(reader->extents(sparse, 40'000, 1).empty());
  EXPECT_EQ(reader->extents(*reader->find_file("large"), 0, UINT64_MAX),
            (std::vector<DataRun>{{0, 4 * kMiB}}))
      << "chunks that touch are one run";
}

// What issue 4 asks for: one request for a cold range, however many threads read it.
TEST_F(ReaderTest, ManyThreadsThatReadTheSameColdRangeCauseOneGet) {
  ChunkCache cache(64 * kMiB);
  const auto reader = open(cache, true);
  constexpr int kThreads = 64;
  std::latch start(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      start.arrive_and_wait();
      expect_read(*reader, "large", large_, 0, 4 * kMiB);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(gets(), 1U);
}

TEST_F(ReaderTest, ACacheSmallerThanAChunkWorks) {
  ChunkCache cache(1000);
  const auto reader = open(cache, true);
  expect_read(*reader, "large", large_, 0, 4 * kMiB);
  for (uint64_t at = 0; at < 64 * 1024; at += 4096) expect_read(*reader, "large", large_, at, 4096);
  EXPECT_LE(gets(), 2U) << "the chunk that was used last stays";
}

TEST_F(ReaderTest, ALeaderThatIsCancelledFailsNobodyElse) {
  ChunkCache cache(64 * kMiB);
  const auto reader = open(cache);
  // The first get stays under way until it is told to fail.
  std::latch inside(1);
  std::atomic<bool> go{false};
  faults_.on_call(
      [&, first = std::make_shared<std::atomic<bool>>(true)](const test::Call& call) -> Result<> {
        if (call.verb != Verb::get || call.when != When::before || !first->exchange(false))
          return {};
        inside.count_down();
        while (!go.load()) std::this_thread::yield();
        return Error(Code::cancelled, "stopped on request");
      });
  std::thread leader(
      [&] { EXPECT_TRUE(fails_with(Code::cancelled, read(*reader, context_, "large", 0, 4096))); });
  inside.wait();
  // Waiters keep their own deadline.
  const Context brief = context_.within(std::chrono::milliseconds(10));
  EXPECT_TRUE(fails_with(Code::timeout, read(*reader, brief, "large", 0, 4096)));
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] { expect_read(*reader, "large", large_, 0, 4096); });
  }
  go = true;
  leader.join();
  for (auto& waiter : waiters) waiter.join();
  EXPECT_EQ(gets(), 2U) << "one of those who waited took over";
}

TEST_F(ReaderTest, NothingIsKeptOfAFailure) {
  ChunkCache cache(64 * kMiB);
  const auto reader = open(cache);
  faults_.fail(Verb::get, 1, When::before, Error(Code::unavailable, "down"));
  EXPECT_TRUE(fails_with(Code::unavailable, read(*reader, context_, "a", 0, 10)));
  expect_read(*reader, "a", small_[0], 0, 1000);
}

TEST_F(ReaderTest, AStoreThatIsDownFailsAllWhoWaitSoon) {
  ChunkCache cache(64 * kMiB);
  const auto reader = open(cache);
  faults_.fail_all(Error(Code::unavailable, "down"));
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      EXPECT_TRUE(fails_with(Code::unavailable, read(*reader, context_, "large", 0, 4096)));
    });
  }
  for (auto& thread : threads) thread.join();
  faults_.heal();
  expect_read(*reader, "large", large_, 0, 4096);
}

TEST_F(ReaderTest, DamageOnTheWayIsFetchedOnceMorePastTheTiers) {
  ChunkCache cache(64 * kMiB);
  const auto reader = open(cache);
  faults_.change_get(1, test::with_flipped_byte(2 * kMiB));
  expect_read(*reader, "large", large_, 0, 4 * kMiB);
  EXPECT_EQ(origin_->origin_gets.load(), 1U);
  EXPECT_EQ(gets(), 2U);
  // Of a bundle each file counts.
  faults_.change_get(1, test::with_flipped_byte(2500));
  expect_read(*reader, "a", small_[0], 0, 1000);
  expect_read(*reader, "b", small_[1], 0, 2000);
  EXPECT_EQ(origin_->origin_gets.load(), 2U);
  // An answer that is cut off.
  faults_.change_get(1, test::truncated_to(100));
  expect_read(*reader, "sparse", sparse_, 0, 40'000);
  EXPECT_EQ(origin_->origin_gets.load(), 3U);
}

TEST_F(ReaderTest, DamageThatStaysIsAnErrorAndNeverAWrongByte) {
  ChunkCache cache(64 * kMiB);
  const auto reader = open(cache);
  for (uint64_t n = 1; n <= 2; ++n) faults_.change_get(n, test::with_flipped_byte(77));
  const auto got = read(*reader, context_, "large", 0, 4096);
  ASSERT_TRUE(fails_with(Code::corrupt, got));
  EXPECT_NE(got.error().text().find("packs/"), std::string::npos);
  expect_read(*reader, "large", large_, 0, 4096);
}

TEST_F(ReaderTest, WillNeedFetchesAheadAndNeverTwice) {
  ChunkCache cache(64 * kMiB);
  const auto reader = open(cache);
  const FileRef large = *reader->find_file("large");
  reader->will_need(large, 0, UINT64_MAX);
  reader->will_need(large, 5 * kMiB, 10);
  reader->will_need(FileRef{1234, 5}, 0, 10);
  while (cache.held_bytes() < 4 * kMiB) std::this_thread::yield();
  expect_read(*reader, "large", large_, 0, 4 * kMiB);
  EXPECT_EQ(gets(), 1U);
}

TEST_F(ReaderTest, ReadsThatFollowOneAnotherAreFetchedAhead) {
  ChunkCache cache(64 * kMiB);
  const auto reader = open(cache, true);
  expect_read(*reader, "large", large_, 0, 4096);
  EXPECT_EQ(cache.held_bytes(), kMiB);
  expect_read(*reader, "large", large_, 4096, 4096);
  // Two more MiB from 8192 on touch three chunks, of which one is there.
  while (cache.held_bytes() < 3 * kMiB) std::this_thread::yield();
  EXPECT_EQ(gets(), 2U);
}

TEST_F(ReaderTest, WhoeverHoldsAReaderMayLetGoWhileItFetchesAhead) {
  ChunkCache cache(64 * kMiB);
  for (int i = 0; i < 20; ++i) {
    const auto reader = open(cache);
    reader->will_need(*reader->find_file("large"), 0, UINT64_MAX);
  }
  EXPECT_EQ(cache.held_bytes(), 0U);
}

TEST_F(ReaderTest, ReadersShareACache) {
  ChunkCache cache(3 * kMiB);
  const auto first = open(cache);
  const auto second = open(cache);
  for (int round = 0; round < 3; ++round) {
    expect_read(*first, "large", large_, 0, 4 * kMiB);
    expect_read(*second, "large", large_, kMiB, 2 * kMiB);
    EXPECT_LE(cache.held_bytes(), 3 * kMiB);
  }
}

}  // namespace
}  // namespace thaw
