// What recency_index.h promises, over every index.
#include <gmock/gmock.h>

#include <thread>

#include "support/index_cases.h"
#include "support/result_check.h"

namespace thaw {
namespace {

using test::block_of;
using test::expect_true_sums;
using test::fails_with;
using test::in_tier;
using test::is_ok;
using test::walk;
using Kind = BlockNote::Kind;

Timestamp at(int64_t us) { return Timestamp{us * 1000}; }

class RecencyIndexTest : public ::testing::TestWithParam<test::IndexCase> {
 protected:
  RecencyIndex& index() { return *index_; }
  void touch(const ObjectKey& block, int64_t us) {
    ASSERT_TRUE(is_ok(thaw::touch(index(), context_, std::span(&block, 1), at(us))));
  }
  void admit(const ObjectKey& block, uint64_t bytes, int64_t us) {
    const AdmittedBlock admitted{block, bytes};
    ASSERT_TRUE(is_ok(thaw::admit(index(), context_, std::span(&admitted, 1), at(us))));
  }
  void evict(const ObjectKey& block, int64_t us) {
    ASSERT_TRUE(is_ok(thaw::evict(index(), context_, std::span(&block, 1), at(us))));
  }
  // In microseconds; -1: it is not known.
  int64_t last_use(const ObjectKey& block) {
    const auto uses = index().last_use(context_, std::span(&block, 1));
    EXPECT_TRUE(is_ok(uses));
    if (!uses || uses->size() != 1 || !uses->front()) return -1;
    return uses->front()->ns / 1000;
  }
  IndexUsage usage(const UsageOf& of = UsageOf::all()) {
    const auto sum = index().usage(context_, of);
    EXPECT_TRUE(is_ok(sum));
    return sum ? *sum : IndexUsage();
  }
  uint64_t evict_prefix(const std::string& prefix) {
    const auto count = index().evict_prefix(context_, prefix);
    EXPECT_TRUE(is_ok(count));
    return count ? *count : 0;
  }

  const Context context_;
  test::IndexPlace place_ = GetParam().make();
  std::unique_ptr<RecencyIndex> index_ = place_.open();
};

INSTANTIATE_TEST_SUITE_P(All, RecencyIndexTest, ::testing::ValuesIn(test::index_cases()),
                         test::name_of_index_case);

const ObjectKey kA = block_of("packs/3f/a", 0);
const ObjectKey kB = block_of("packs/3f/a", 1);
const ObjectKey kC = block_of("build1/rootfs", 0);

TEST_P(RecencyIndexTest, IsEmptyAtFirst) {
  EXPECT_EQ(usage(), IndexUsage());
  EXPECT_TRUE(walk(index()).empty());
  EXPECT_EQ(last_use(kA), -1);
  ASSERT_TRUE(is_ok(index().apply(context_, {})));
  EXPECT_FALSE(index().describe().empty());
}

TEST_P(RecencyIndexTest, KeepsTheLastUse) {
  touch(kA, 10);
  touch(kB, 20);
  const std::vector<ObjectKey> asked = {kB, kC, kA, kB};
  const auto uses = index().last_use(context_, asked);
  ASSERT_TRUE(is_ok(uses));
  EXPECT_THAT(*uses, ::testing::ElementsAre(at(20), std::nullopt, at(10), at(20)));
  touch(kA, 30);
  EXPECT_EQ(last_use(kA), 30);
}

TEST_P(RecencyIndexTest, ATouchNeverMovesAUseBack) {
  touch(kA, 30);
  touch(kA, 10);
  admit(kA, 5, 20);
  EXPECT_EQ(last_use(kA), 30);
  EXPECT_EQ(usage(), (IndexUsage{5, 1}));
}

TEST_P(RecencyIndexTest, UsesAreRoundedDownToTheMicrosecond) {
  ASSERT_TRUE(is_ok(thaw::touch(index(), context_, std::span(&kA, 1), Timestamp{1'999})));
  EXPECT_EQ(last_use(kA), 1);
  ASSERT_TRUE(is_ok(thaw::touch(index(), context_, std::span(&kB, 1), Timestamp{-5})));
  EXPECT_EQ(last_use(kB), 0);
  // "Before" is not rounded: 1 us lies before 1,001 ns.
  const auto none = index().coldest(context_, Timestamp{1'000}, 10, "");
  const auto both = index().coldest(context_, Timestamp{1'001}, 10, "");
  ASSERT_TRUE(is_ok(none) && is_ok(both));
  EXPECT_EQ(none->blocks.size(), 1U);
  EXPECT_EQ(both->blocks.size(), 2U);
}

// 2026 needs 51 bits of microseconds.
TEST_P(RecencyIndexTest, TimesOfTodayAreExact) {
  for (const int64_t us : {1'798'000'000'123'456, 1'798'000'000'123'457, 8'999'999'999'999'999}) {
    touch(kA, us);
    EXPECT_EQ(last_use(kA), us);
  }
  const auto known = walk(index());
  ASSERT_EQ(known.size(), 1U);
  EXPECT_EQ(known.front().last_use, at(8'999'999'999'999'999));
}

TEST_P(RecencyIndexTest, SumsAreByObjectAndByGroup) {
  admit(kA, 100, 1);
  admit(kB, 20, 2);
  admit(block_of("packs/77/b", 0), 3, 3);
  admit(kC, 4000, 4);
  EXPECT_EQ(usage(), (IndexUsage{4123, 4}));
  EXPECT_EQ(usage(UsageOf::object(in_tier("packs/3f/a"))), (IndexUsage{120, 2}));
  EXPECT_EQ(usage(UsageOf::group(in_tier("packs"))), (IndexUsage{123, 3}));
  EXPECT_EQ(usage(UsageOf::group(in_tier("build1"))), (IndexUsage{4000, 1}));
  for (const char* none : {"", "packs", "blocks", "x"}) {
    EXPECT_EQ(usage(UsageOf::object(none)), IndexUsage()) << none;
    EXPECT_EQ(usage(UsageOf::group(none)), IndexUsage()) << none;
  }
  EXPECT_EQ(usage(UsageOf::object(in_tier("packs"))), IndexUsage());
  expect_true_sums(index());
}

// Two stores, two versions and two sizes of one object; an object that is its own group.
TEST_P(RecencyIndexTest, AnObjectIsAllItsVersionsInOneStore) {
  const auto block = [](const std::string& name) { return ObjectKey::parse(name).value(); };
  const std::string object = in_tier("rootfs");
  admit(block(object + "/@/00112233445566778899aabbccddeeff-4096/0"), 1, 1);
  admit(block(object + "/@/ff112233445566778899aabbccddeeff-4096/0"), 2, 1);
  admit(block(object + "/@/ff112233445566778899aabbccddeeff-64/0"), 4, 1);
  admit(block_of("rootfs", 0, "ffffffffffffffff"), 8, 1);
  EXPECT_EQ(usage(UsageOf::object(object)), (IndexUsage{7, 3}));
  EXPECT_EQ(usage(UsageOf::group(object)), (IndexUsage{7, 3}));
  EXPECT_EQ(usage(UsageOf::object(in_tier("rootfs", "ffffffffffffffff"))), (IndexUsage{8, 1}));
  EXPECT_EQ(usage(), (IndexUsage{15, 4}));
}

TEST_P(RecencyIndexTest, AdmittingTwiceCountsOnce) {
  admit(kA, 100, 1);
  admit(kA, 100, 1);
  EXPECT_EQ(usage(), (IndexUsage{100, 1}));
  admit(kA, 70, 2);
  EXPECT_EQ(usage(), (IndexUsage{70, 1}));
  admit(kA, 0, 3);
  EXPECT_EQ(usage(), (IndexUsage{0, 1}));
  EXPECT_EQ(last_use(kA), 3);
  expect_true_sums(index());
}

TEST_P(RecencyIndexTest, WhatWasOnlyTouchedHasNoSize) {
  touch(kA, 1);
  EXPECT_EQ(usage(), IndexUsage());
  auto known = walk(index());
  ASSERT_EQ(known.size(), 1U);
  EXPECT_FALSE(known.front().bytes.has_value());
  admit(kA, 9, 2);
  known = walk(index());
  ASSERT_EQ(known.size(), 1U);
  EXPECT_EQ(known.front().bytes, 9U);
  EXPECT_EQ(usage(), (IndexUsage{9, 1}));
  touch(kA, 3);
  EXPECT_EQ(walk(index()).front().bytes, 9U) << "a touch does not forget it";
}

TEST_P(RecencyIndexTest, AnEvictionTakesItsBytesAlong) {
  admit(kA, 100, 1);
  admit(kB, 20, 1);
  evict(kA, 1);
  EXPECT_EQ(usage(), (IndexUsage{20, 1}));
  EXPECT_EQ(last_use(kA), -1);
  evict(kA, 9);
  evict(kB, 9);
  EXPECT_EQ(usage(), IndexUsage());
  EXPECT_TRUE(walk(index()).empty());
  expect_true_sums(index());
}

TEST_P(RecencyIndexTest, EvictingWhatIsNotKnownOrHasNoSizeChangesNoSum) {
  admit(kA, 100, 1);
  touch(kB, 1);
  evict(kB, 2);
  evict(kC, 2);
  EXPECT_EQ(last_use(kB), -1);
  EXPECT_EQ(usage(), (IndexUsage{100, 1}));
  expect_true_sums(index());
}

TEST_P(RecencyIndexTest, AnEvictionThatWasOvertakenForgetsNothing) {
  admit(kA, 100, 50);
  evict(kA, 49);
  EXPECT_EQ(usage(), (IndexUsage{100, 1}));
  EXPECT_EQ(last_use(kA), 50);
  evict(kA, 50);
  EXPECT_EQ(usage(), IndexUsage());
}

TEST_P(RecencyIndexTest, ABatchIsTakenInItsOrder) {
  const std::vector<BlockNote> notes = {{Kind::admit, kA, at(5), 10}, {Kind::evict, kA, at(5)},
                                        {Kind::touch, kA, at(4)},     {Kind::admit, kB, at(5), 10},
                                        {Kind::admit, kB, at(4), 7},  {Kind::evict, kC, at(5)},
                                        {Kind::admit, kC, at(5), 1},  {Kind::touch, kC, at(6)}};
  ASSERT_TRUE(is_ok(index().apply(context_, notes)));
  EXPECT_EQ(last_use(kA), 4);
  EXPECT_EQ(last_use(kB), 5);
  EXPECT_EQ(last_use(kC), 6);
  EXPECT_EQ(usage(), (IndexUsage{8, 2}));
  EXPECT_EQ(usage(UsageOf::object(in_tier("packs/3f/a"))), (IndexUsage{7, 1}));
  expect_true_sums(index());
  // Written again, as after an answer that was lost.
  ASSERT_TRUE(is_ok(index().apply(context_, notes)));
  EXPECT_EQ(usage(), (IndexUsage{8, 2}));
  expect_true_sums(index());
}

TEST_P(RecencyIndexTest, LargeBatchesOfMixedNotes) {
  std::vector<BlockNote> notes;
  for (uint64_t i = 0; i < 6'000; ++i) {
    const ObjectKey block = block_of("o" + std::to_string(i % 50) + "/x", i);
    notes.push_back(
        {i % 7 == 3 ? Kind::touch : Kind::admit, block, at(static_cast<int64_t>(i)), i});
    if (i % 5 == 0) notes.push_back({Kind::evict, block, at(static_cast<int64_t>(i))});
  }
  ASSERT_TRUE(is_ok(index().apply(context_, notes)));
  EXPECT_EQ(walk(index(), 1'700).size(), 4'800U);
  expect_true_sums(index());
}

// --- the coldest

TEST_P(RecencyIndexTest, TheColdestComeFirstAndOnlyThoseBefore) {
  admit(kA, 7, 30);
  touch(kB, 10);
  admit(kC, 9, 20);
  const auto page = index().coldest(context_, at(30), 10, "");
  ASSERT_TRUE(is_ok(page));
  ASSERT_EQ(page->blocks.size(), 2U);
  EXPECT_EQ(page->blocks[0].block, kB);
  EXPECT_EQ(page->blocks[0].last_use, at(10));
  EXPECT_EQ(page->blocks[0].bytes, std::nullopt);
  EXPECT_EQ(page->blocks[1].block, kC);
  EXPECT_EQ(page->blocks[1].bytes, 9U);
  EXPECT_EQ(page->next, "");
  const auto first = index().coldest(context_, at(31), 2, "");
  ASSERT_TRUE(is_ok(first));
  EXPECT_NE(first->next, "");
  const auto second = index().coldest(context_, at(31), 2, first->next);
  ASSERT_TRUE(is_ok(second));
  ASSERT_EQ(second->blocks.size(), 1U);
  EXPECT_EQ(second->blocks[0].block, kA);
  const auto exact = index().coldest(context_, at(31), 3, "");
  ASSERT_TRUE(is_ok(exact));
  EXPECT_EQ(exact->next, "") << "nothing comes after the last";
}

// As a cleaner does: a page, its blocks removed, the next page; and all of one microsecond.
TEST_P(RecencyIndexTest, AWalkMeetsEachBlockOnceThoughPagesAreEvicted) {
  std::vector<BlockNote> notes;
  for (uint64_t i = 0; i < 500; ++i) {
    // Names in no order of numbers, with bytes beyond ASCII.
    const std::string object =
        "ob\xc3\xa4" + std::string(1, static_cast<char>('!' + i % 90)) + "\xff";
    notes.push_back({Kind::admit, block_of(object, i), at(i % 10 == 0 ? 3 : 7), 1});
  }
  ASSERT_TRUE(is_ok(index().apply(context_, notes)));
  EXPECT_EQ(walk(index(), 7).size(), 500U);
  EXPECT_EQ(walk(index(), 499).size(), 500U);
  EXPECT_EQ(walk(index(), 500).size(), 500U);
  std::string next;
  size_t seen = 0;
  do {
    const auto page = index().coldest(context_, at(8), 33, next);
    ASSERT_TRUE(is_ok(page));
    std::vector<ObjectKey> gone;
    for (size_t i = 0; i < page->blocks.size(); ++i) {
      // Every third is used again, and moves behind the bound.
      if (i % 3 == 0) touch(page->blocks[i].block, 8);
      if (i % 3 != 0) gone.push_back(page->blocks[i].block);
    }
    ASSERT_TRUE(is_ok(thaw::evict(index(), context_, gone, at(8))));
    seen += page->blocks.size();
    next = page->next;
  } while (!next.empty());
  EXPECT_EQ(seen, 500U);
  expect_true_sums(index());
}

// --- prefixes

TEST_P(RecencyIndexTest, APrefixIsWholeSegments) {
  for (const char* object :
       {"build1/rootfs", "build1/memfile/x", "build10/rootfs", "build1", "a/build1"}) {
    admit(block_of(object, 0), 1, 1);
    touch(block_of(object, 1), 1);
  }
  admit(block_of("build1/rootfs", 0, "ffffffffffffffff"), 1, 1);
  EXPECT_EQ(evict_prefix(in_tier("build1/root")), 0U);
  EXPECT_EQ(evict_prefix(in_tier("build1/memfile/")), 2U);
  EXPECT_EQ(usage(UsageOf::group(in_tier("build1"))), (IndexUsage{2, 2}));
  EXPECT_EQ(evict_prefix(in_tier("build1")), 4U);
  EXPECT_EQ(usage(UsageOf::group(in_tier("build1"))), IndexUsage());
  EXPECT_EQ(usage(), (IndexUsage{3, 3}));
  expect_true_sums(index());
  EXPECT_EQ(evict_prefix("blocks/0123456789abcdef"), 4U);
  EXPECT_EQ(usage(), (IndexUsage{1, 1}));
  EXPECT_EQ(evict_prefix("blocks/0123456789abcdef"), 0U);
  expect_true_sums(index());
}

TEST_P(RecencyIndexTest, APrefixIsNoPattern) {
  const std::vector<std::string> names = {"a*b",
                                          "a?b",
                                          "a[x]b",
                                          "a\\b",
                                          "a^b",
                                          "axxb",
                                          "a%25b",
                                          "a_b",
                                          "a{b}c",
                                          "a\xff"
                                          "b"};
  for (const std::string& name : names) admit(block_of(name + "/x", 0), 1, 1);
  uint64_t left = names.size();
  for (const std::string& name : names) {
    EXPECT_EQ(evict_prefix(in_tier(name)), 1U) << name;
    EXPECT_EQ(usage().blocks, --left) << name;
  }
  // Nor is a segment of the tier's own, and what looks like it.
  admit(block_of("x/@/once-64/7", 1), 1, 1);
  admit(block_of("x", 7), 1, 1);
  EXPECT_EQ(evict_prefix(in_tier("x/@/once-64")), 1U);
  EXPECT_EQ(usage(UsageOf::object(in_tier("x"))), (IndexUsage{1, 1}));
  EXPECT_EQ(usage(UsageOf::object(in_tier("x/@/once-64/7"))), IndexUsage());
}

TEST_P(RecencyIndexTest, APrefixOfManyObjects) {
  std::vector<AdmittedBlock> blocks;
  for (uint64_t i = 0; i < 1'500; ++i) blocks.push_back({block_of("g/" + std::to_string(i), 0), 2});
  ASSERT_TRUE(is_ok(thaw::admit(index(), context_, blocks, at(1))));
  admit(kA, 5, 1);
  EXPECT_EQ(evict_prefix(in_tier("g")), 1'500U);
  EXPECT_EQ(usage(), (IndexUsage{5, 1}));
  expect_true_sums(index());
}

// --- sums anew

TEST_P(RecencyIndexTest, ReconcilingWhatIsRightChangesNothing) {
  std::vector<AdmittedBlock> blocks;
  for (uint64_t i = 0; i < 1'200; ++i)
    blocks.push_back({block_of("g/" + std::to_string(i % 300), i), i});
  ASSERT_TRUE(is_ok(thaw::admit(index(), context_, blocks, at(1))));
  touch(kA, 1);
  const IndexUsage before = usage();
  for (int i = 0; i < 3; ++i) {
    const auto found = index().reconcile(context_);
    ASSERT_TRUE(is_ok(found));
    EXPECT_EQ(found->before, before);
    EXPECT_EQ(found->after, before);
    expect_true_sums(index());
    admit(blocks[0].block, 0, 1);
    evict(blocks[1].block, 1);
    admit(blocks[1].block, 1, 1);
  }
  EXPECT_EQ(last_use(kA), 1);
}

// --- more than one

TEST_P(RecencyIndexTest, HandlesSeeOneAnother) {
  if (!GetParam().is_shared) return;
  const auto other = place_.open();
  admit(kA, 5, 1);
  const auto sum = other->usage(context_, UsageOf::all());
  ASSERT_TRUE(is_ok(sum));
  EXPECT_EQ(*sum, (IndexUsage{5, 1}));
  ASSERT_TRUE(is_ok(thaw::evict(*other, context_, std::span(&kA, 1), at(2))));
  EXPECT_EQ(usage(), IndexUsage());
}

// SQLite has no queue of writers: on a busy machine one may be passed over until its patience ends.
template <class Call>
auto in_its_turn(const Call& call) {
  auto answer = call();
  while (!answer && answer.error().code() == Code::busy) answer = call();
  return answer;
}

TEST_P(RecencyIndexTest, SumsStayTrueUnderManyWriters) {
  const auto other = GetParam().is_shared ? place_.open() : nullptr;
  RecencyIndex* handles[] = {index_.get(), other ? other.get() : index_.get()};
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      RecencyIndex& mine = *handles[thread % 2];
      for (uint64_t round = 0; round < 25; ++round) {
        std::vector<BlockNote> notes;
        for (uint64_t i = 0; i < 40; ++i) {
          const uint64_t n = i * 31 + round * 17 + thread * 7;
          const Kind kind = n % 3 == 0 ? Kind::evict : n % 3 == 1 ? Kind::touch : Kind::admit;
          notes.push_back({kind, block_of("o" + std::to_string(n % 5), n % 23),
                           at(static_cast<int64_t>(round)), n});
        }
        EXPECT_TRUE(is_ok(in_its_turn([&] { return mine.apply(context_, notes); })));
        if (thread == 3 && round % 5 == 4) {
          const auto found = in_its_turn([&] { return mine.reconcile(context_); });
          EXPECT_TRUE(is_ok(found));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  expect_true_sums(index());
}

// --- refusals

TEST_P(RecencyIndexTest, WhatIsNoBlockIsRefusedAndNothingHappens) {
  for (const char* name :
       {"x", "blocks/0123456789abcdef", "blocks/0123456789abcdef/o",
        "blocks/0123456789abcdef/@/once-64/0", "blocks/0123456789ABCDEF/o/@/once-64/0",
        "blocks/0123456789abcdef/o/@/once-64", "blocks/0123456789abcdef/o/@/once-64/x",
        "blocks/0123456789abcdef/o/@/once/0", "blocks/0123456789abcdef/o/@/once-6x/0",
        "blocks/0123456789abcdef/o/once-64/0", "blocks/0123/o/@/once-64/0",
        "other/0123456789abcdef/o/@/once-64/0"}) {
    const ObjectKey bad = ObjectKey::parse(name).value();
    const std::vector<BlockNote> notes = {{Kind::admit, kA, at(1), 1}, {Kind::touch, bad, at(1)}};
    EXPECT_TRUE(fails_with(Code::invalid, index().apply(context_, notes))) << name;
    EXPECT_TRUE(fails_with(Code::invalid, index().last_use(context_, std::span(&bad, 1)))) << name;
  }
  const BlockNote huge{Kind::admit, kA, at(1), kIndexedBytesMost + 1};
  EXPECT_TRUE(fails_with(Code::invalid, index().apply(context_, std::span(&huge, 1))));
  EXPECT_TRUE(walk(index()).empty());
  admit(kA, kIndexedBytesMost, 1);
  EXPECT_EQ(usage(), (IndexUsage{kIndexedBytesMost, 1}));
}

TEST_P(RecencyIndexTest, CursorsLimitsAndPrefixesAreChecked) {
  for (const char* cursor : {"x", "1", "-1 x", "9999999999999999999 x"}) {
    EXPECT_TRUE(fails_with(Code::invalid, index().coldest(context_, at(1), 1, cursor))) << cursor;
  }
  EXPECT_TRUE(fails_with(Code::invalid, index().coldest(context_, at(1), 0, "")));
  for (const char* prefix : {"", "blocks", "blocks/", "blocks/0123", "blocks/0123456789abcdef0",
                             "x/0123456789abcdef/a", "blocks/0123456789abcdef/../x"}) {
    EXPECT_TRUE(fails_with(Code::invalid, index().evict_prefix(context_, prefix))) << prefix;
  }
}

TEST_P(RecencyIndexTest, EndsWithItsContext) {
  StopFlag stop;
  stop.stop();
  const Context ended(stop);
  const BlockNote note{Kind::admit, kA, at(1), 1};
  EXPECT_TRUE(fails_with(Code::cancelled, index().apply(ended, std::span(&note, 1))));
  EXPECT_TRUE(fails_with(Code::cancelled, index().last_use(ended, std::span(&kA, 1))));
  EXPECT_TRUE(fails_with(Code::cancelled, index().coldest(ended, at(1), 1, "")));
  EXPECT_TRUE(fails_with(Code::cancelled, index().usage(ended, UsageOf::all())));
  EXPECT_TRUE(fails_with(Code::cancelled, index().evict_prefix(ended, in_tier("x"))));
  EXPECT_TRUE(fails_with(Code::cancelled, index().reconcile(ended)));
  const Context late = context_.within(std::chrono::milliseconds(0));
  EXPECT_TRUE(fails_with(Code::timeout, index().apply(late, std::span(&note, 1))));
  // And goes on with the next.
  admit(kA, 1, 1);
  EXPECT_EQ(usage(), (IndexUsage{1, 1}));
}

}  // namespace
}  // namespace thaw
