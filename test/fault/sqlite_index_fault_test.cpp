// What happens to an index in SQLite: killed writers, damaged files, places that take nothing.
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "index/sqlite_index.h"
#include "support/index_cases.h"
#include "support/random_bytes.h"
#include "support/result_check.h"
#include "support/test_seed.h"

namespace thaw {
namespace {

using std::chrono::milliseconds;
using test::block_of;
using test::expect_true_sums;
using test::fails_with;
using test::is_ok;
using Kind = BlockNote::Kind;

class SqliteIndexFault : public ::testing::Test {
 protected:
  std::string path() const { return dir_.path_of("index.sqlite"); }
  std::unique_ptr<RecencyIndex> open(milliseconds patience = std::chrono::minutes(1)) {
    return make_sqlite_index({path(), patience}, meter_);
  }
  static std::vector<BlockNote> admissions(uint64_t from, uint64_t count) {
    std::vector<BlockNote> notes;
    for (uint64_t i = from; i < from + count; ++i) {
      notes.push_back({Kind::admit, block_of("o" + std::to_string(i % 7), i),
                       Timestamp{static_cast<int64_t>(i) * 1000}, i + 1});
    }
    return notes;
  }
  void sql(const char* text) const {
    sqlite3* raw = nullptr;
    ASSERT_EQ(sqlite3_open(path().c_str(), &raw), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(raw, text, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(raw);
    sqlite3_close(raw);
  }
  // Runs `work` in a process of its own; its exit status.
  template <class Work>
  static int in_child(const Work& work) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::_exit(work());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  const test::TempDir dir_;
  TierMeter meter_;
  const Context context_;
};

// Each child writes batches until it is killed; what is there afterwards is whole batches.
TEST_F(SqliteIndexFault, KilledInTheMiddleOfBatchesItsSumsStayTrue) {
  test::TestRandom random(test::test_seed());
  for (int round = 0; round < 25; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const uint64_t seed = random.next();
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      test::TestRandom mine(seed);
      const auto index = make_sqlite_index({path()}, meter_);
      while (true) {
        std::vector<BlockNote> notes;
        for (int i = 0; i < 200; ++i) {
          notes.push_back({static_cast<Kind>(mine.below(3)),
                           block_of("o" + std::to_string(mine.below(5)), mine.below(200)),
                           Timestamp{static_cast<int64_t>(mine.below(1'000'000))},
                           mine.below(5'000'000)});
        }
        if (!index->apply(context_, notes)) ::_exit(1);
        if (mine.below(8) == 0 && !index->reconcile(context_)) ::_exit(2);
        if (mine.below(8) == 0 && !index->evict_prefix(context_, test::in_tier("o1"))) ::_exit(3);
        if (::write(ends[1], "x", 1) != 1) ::_exit(4);
      }
    }
    ::close(ends[1]);
    char done = 0;
    for (uint64_t batches = random.below(6); batches > 0; --batches) {
      ASSERT_EQ(::read(ends[0], &done, 1), 1);
    }
    // Somewhere in the next one.
    for (uint64_t turns = random.below(20'000); turns > 0; --turns) std::this_thread::yield();
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ::close(ends[0]);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself: " << WEXITSTATUS(status);
    const auto index = open();
    expect_true_sums(*index);
    ASSERT_TRUE(is_ok(index->reconcile(context_)));
    expect_true_sums(*index);
  }
  EXPECT_EQ(meter_.index_rebuilt, 0U);
}

// --- damage

TEST_F(SqliteIndexFault, AFileThatIsNoDatabaseIsEmptied) {
  for (const std::string& bytes : {std::string("garbage"), std::string(100'000, 'x'),
                                   std::string("SQLite format 3\0junk", 20)}) {
    for (const char* more : {"-wal", "-shm"}) ::unlink((path() + more).c_str());
    test::write_text(path(), bytes);
    meter_.index_rebuilt = 0;
    const auto index = open();
    ASSERT_TRUE(is_ok(index->apply(context_, admissions(0, 10))));
    EXPECT_EQ(meter_.index_rebuilt, 1U);
    EXPECT_EQ(test::walk(*index).size(), 10U);
    expect_true_sums(*index);
  }
}

TEST_F(SqliteIndexFault, AnEmptyFileIsAnEmptyIndex) {
  test::write_text(path(), "");
  const auto index = open();
  EXPECT_TRUE(test::walk(*index).empty());
  EXPECT_EQ(meter_.index_rebuilt, 0U);
}

TEST_F(SqliteIndexFault, AnotherDatabaseIsEmptied) {
  sql("CREATE TABLE blocks(a); INSERT INTO blocks VALUES(1)");
  const auto index = open();
  EXPECT_TRUE(test::walk(*index).empty());
  EXPECT_EQ(meter_.index_rebuilt, 1U);
  ASSERT_TRUE(is_ok(index->apply(context_, admissions(0, 10))));
  expect_true_sums(*index);
}

TEST_F(SqliteIndexFault, OneThatLostATableIsEmptied) {
  ASSERT_TRUE(is_ok(open()->apply(context_, admissions(0, 10))));
  sql("DROP TABLE groups");
  const auto index = open();
  EXPECT_TRUE(test::walk(*index).empty());
  EXPECT_EQ(meter_.index_rebuilt, 1U);
}

TEST_F(SqliteIndexFault, OneOfANewerThawIsLeftAlone) {
  ASSERT_TRUE(is_ok(open()->apply(context_, admissions(0, 10))));
  sql("PRAGMA user_version = 2");
  EXPECT_TRUE(fails_with(Code::invalid, open()->apply(context_, admissions(0, 10))));
  sql("PRAGMA user_version = 1");
  EXPECT_EQ(test::walk(*open()).size(), 10U);
  EXPECT_EQ(meter_.index_rebuilt, 0U);
}

// Wherever bytes are changed: nothing crashes, nothing fails for good, and what is left is true.
TEST_F(SqliteIndexFault, RandomDamageIsSurvived) {
  test::TestRandom random(test::test_seed());
  for (int round = 0; round < 30; ++round) {
    for (const char* more : {"", "-wal", "-shm"}) ::unlink((path() + more).c_str());
    {
      const auto index = open();
      ASSERT_TRUE(is_ok(index->apply(context_, admissions(0, 3'000))));
    }
    std::string bytes = test::read_text(path());
    if (round % 3 == 0) bytes.resize(random.below(bytes.size()));
    for (uint64_t i = random.below(20); i > 0 && !bytes.empty(); --i) {
      bytes[random.below(bytes.size())] = static_cast<char>(random.next());
    }
    test::write_text(path(), bytes);
    const auto index = open();
    // Damage may be met late, and a version that damage made up is nobody's.
    const auto applied = index->apply(context_, admissions(2'000, 2'000));
    if (!applied) {
      ASSERT_TRUE(fails_with(Code::invalid, applied));
      continue;
    }
    ASSERT_TRUE(is_ok(index->coldest(context_, Timestamp{INT64_MAX}, 5'000, "")));
    ASSERT_TRUE(is_ok(index->evict_prefix(context_, test::in_tier("o3"))));
    ASSERT_TRUE(is_ok(index->reconcile(context_)));
    expect_true_sums(*index);
  }
}

// --- places

TEST_F(SqliteIndexFault, AFileThatWasRemovedIsMadeAnew) {
  const auto index = open();
  ASSERT_TRUE(is_ok(index->apply(context_, admissions(0, 10))));
  for (const char* more : {"", "-wal", "-shm"}) ::unlink((path() + more).c_str());
  ASSERT_TRUE(is_ok(index->apply(context_, admissions(20, 5))));
  EXPECT_EQ(test::walk(*index).size(), 5U);
  EXPECT_EQ(test::walk(*open()).size(), 5U);
  expect_true_sums(*index);
}

TEST_F(SqliteIndexFault, WithoutItsFolderThereIsNoIndex) {
  const auto index = make_sqlite_index({dir_.path_of("not/yet/index.sqlite")}, meter_);
  EXPECT_TRUE(fails_with(Code::not_found, index->apply(context_, admissions(0, 1))));
  std::filesystem::create_directories(dir_.path_of("not/yet"));
  EXPECT_TRUE(is_ok(index->apply(context_, admissions(0, 1))));
}

TEST_F(SqliteIndexFault, AFolderInItsPlaceIsNoIndex) {
  std::filesystem::create_directories(path());
  EXPECT_FALSE(open()->apply(context_, admissions(0, 1)).ok());
}

TEST_F(SqliteIndexFault, WhereItMayNotBeWrittenItIsDenied) {
  ASSERT_TRUE(is_ok(open()->apply(context_, admissions(0, 10))));
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0555), 0);
  const int status = in_child([&] {
    constexpr uid_t kNobody = 65'534;  // root may write everywhere
    if (::geteuid() == 0 && ::setuid(kNobody) != 0) return 9;
    const auto known = open()->apply(context_, admissions(0, 1));
    const auto fresh =
        make_sqlite_index({dir_.path_of("new.sqlite")}, meter_)->apply(context_, admissions(0, 1));
    if (known || known.error().code() != Code::denied) return 1;
    return fresh || fresh.error().code() != Code::denied ? 2 : 0;
  });
  ::chmod(dir_.path().c_str(), 0755);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(test::walk(*open()).size(), 10U);
}

TEST_F(SqliteIndexFault, WhereThereIsNoRoomNothingIsHalfWritten) {
  ASSERT_TRUE(is_ok(open()->apply(context_, admissions(0, 10))));
  const int status = in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100'000, 100'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto index = open();
    for (uint64_t i = 0; i < 1'000; ++i) {
      const auto applied = index->apply(context_, admissions(i * 100, 100));
      // SQLite does not always tell a write that has no room from one that fails.
      const Code code = applied ? Code::exhausted : applied.error().code();
      if (code != Code::exhausted && code != Code::unavailable) return 1;
      if (!applied) return 0;
    }
    return 2;
  });
  EXPECT_EQ(status, 0);
  const auto index = open();
  expect_true_sums(*index);
  EXPECT_EQ(test::walk(*index).size() % 100, 0U);
  EXPECT_EQ(meter_.index_rebuilt, 0U);
}

TEST_F(SqliteIndexFault, OthersAreWaitedForAsLongAsTheContextLasts) {
  const auto index = open();
  ASSERT_TRUE(is_ok(index->apply(context_, admissions(0, 10))));
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path().c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  const Context limited = context_.within(milliseconds(30));
  EXPECT_TRUE(fails_with(Code::timeout, index->apply(limited, admissions(20, 5))));
  EXPECT_TRUE(fails_with(Code::busy, open(milliseconds(5))->apply(context_, admissions(20, 5))));
  // Reads do not wait for writers.
  EXPECT_EQ(test::walk(*index).size(), 10U);
  std::thread waiting([&] { EXPECT_TRUE(is_ok(index->apply(context_, admissions(20, 5)))); });
  ASSERT_EQ(sqlite3_exec(other, "COMMIT", nullptr, nullptr, nullptr), SQLITE_OK);
  waiting.join();
  sqlite3_close(other);
  EXPECT_EQ(test::walk(*index).size(), 15U);
}

// Several processes on one index, one of them emptying it.
TEST_F(SqliteIndexFault, WipedUnderOthersItGoesOn) {
  const auto index = open();
  ASSERT_TRUE(is_ok(index->apply(context_, admissions(0, 1'000))));
  sql("PRAGMA user_version = 0");
  // This one meets it first, and begins anew.
  const auto second = open();
  ASSERT_TRUE(is_ok(second->apply(context_, admissions(0, 5))));
  EXPECT_EQ(meter_.index_rebuilt, 1U);
  ASSERT_TRUE(is_ok(index->apply(context_, admissions(100, 7))));
  EXPECT_EQ(test::walk(*second).size(), 12U);
  expect_true_sums(*index);
}

}  // namespace
}  // namespace thaw
