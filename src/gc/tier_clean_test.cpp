#include "gc/tier_clean.h"

#include <gtest/gtest.h>

#include "index/memory_index.h"
#include "object/memory.h"
#include "object/tier_marker.h"
#include "support/faulty_store.h"
#include "support/result_check.h"

namespace thaw::gc {
namespace {

using test::fails_with;
using test::is_ok;

constexpr uint64_t kBlock = 100;
constexpr int64_t kHourNs = 3600LL * 1'000'000'000;

class Hours final : public WallClock {
 public:
  Timestamp now() const override { return Timestamp{ns_}; }
  void step(int64_t hours) { ns_ += hours * kHourNs; }

 private:
  int64_t ns_ = 1'800'000'000LL * 1'000'000'000;
};

// An index that answers as the test says.
class Oracle final : public RecencyIndex {
 public:
  std::unique_ptr<RecencyIndex> under = make_memory_index();
  bool down = false;
  // Before a question for last uses: somebody reads meanwhile.
  std::function<void()> meanwhile;

  Result<> apply(const Context& context, std::span<const BlockNote> notes) override {
    if (down) return fault();
    return under->apply(context, notes);
  }
  Result<std::vector<std::optional<Timestamp>>> last_use(
      const Context& context, std::span<const ObjectKey> blocks) override {
    if (meanwhile) meanwhile();
    if (down) return fault();
    return under->last_use(context, blocks);
  }
  Result<ColdPage> coldest(const Context& context, Timestamp before, size_t limit,
                           std::string_view after) override {
    if (down) return fault();
    return under->coldest(context, before, limit, after);
  }
  Result<IndexUsage> usage(const Context& context, const UsageOf& of) override {
    if (down) return fault();
    return under->usage(context, of);
  }
  Result<uint64_t> evict_prefix(const Context& context, std::string_view prefix) override {
    return under->evict_prefix(context, prefix);
  }
  Result<Reconciled> reconcile(const Context& context) override {
    return under->reconcile(context);
  }
  std::string describe() const override { return "oracle"; }

 private:
  static Error fault() { return {Code::unavailable, "the index is down"}; }
};

class CleanTest : public ::testing::Test {
 protected:
  CleanTest() { EXPECT_TRUE(is_ok(mark_tier(context_, *fast_))); }

  static ObjectKey block(int number) {
    return *ObjectKey::parse("blocks/0123456789abcdef/a/@/once-64/" + std::to_string(number));
  }
  void put(int number) {
    ASSERT_TRUE(is_ok(
        fast_->put(context_, block(number), Buffer(std::string(kBlock, 'x')), PutMode::overwrite)));
  }
  void put_known(int number) {
    put(number);
    const AdmittedBlock admitted{block(number), kBlock};
    ASSERT_TRUE(is_ok(admit(index_, context_, {&admitted, 1}, clock_.now())));
  }
  void use(int number) {
    const ObjectKey name = block(number);
    ASSERT_TRUE(is_ok(touch(index_, context_, {&name, 1}, clock_.now())));
  }
  bool has(int number) { return fast_->find(context_, block(number))->has_value(); }
  CleanReport clean(CleanOptions options) {
    options.execute = true;
    const CleanedTier tier{fast_.get(), &index_, nullptr};
    auto report = clean_tier(context_, tier, options, clock_, nullptr);
    EXPECT_TRUE(is_ok(report));
    return report.ok() ? *report : CleanReport();
  }

  const Context context_;
  Hours clock_;
  test::Faults faults_;
  std::unique_ptr<ObjectStore> fast_ = test::faulty(make_memory_store(clock_), faults_);
  Oracle index_;
};

const CleanOptions kDay{.older_than = std::chrono::hours(24)};

TEST_F(CleanTest, AgeIsSinceTheLastUse) {
  for (int i = 0; i < 3; ++i) put_known(i);
  clock_.step(20);
  use(1);
  clock_.step(5);
  const CleanReport report = clean(kDay);
  EXPECT_EQ(report.index.deleted, 2U);
  EXPECT_TRUE(has(1));
  EXPECT_FALSE(has(0));
  EXPECT_EQ(index_.usage(context_, UsageOf::all())->blocks, 1U);
}

TEST_F(CleanTest, ABlockThatIsUsedAtTheLastMomentStays) {
  for (int i = 0; i < 3; ++i) put_known(i);
  clock_.step(25);
  index_.meanwhile = [this] { use(2); };
  const CleanReport report = clean(kDay);
  EXPECT_EQ(report.index.deleted, 2U);
  EXPECT_EQ(report.kept_recent, 1U);
  EXPECT_TRUE(has(2));
}

TEST_F(CleanTest, AnIndexThatIsDownKeepsWhatIsUnknown) {
  for (int i = 0; i < 3; ++i) put_known(i);
  clock_.step(25);
  index_.down = true;
  CleanReport report = clean(kDay);
  EXPECT_EQ(report.index.deleted + report.listing.deleted, 0U);
  EXPECT_EQ(report.kept_unknown, 3U);
  EXPECT_FALSE(report.errors.empty());
  CleanOptions blind = kDay;
  blind.allow_blind = true;
  report = clean(blind);
  EXPECT_TRUE(report.blind);
  EXPECT_EQ(report.listing.deleted, 3U);
}

TEST_F(CleanTest, AnIndexThatGoesDownMeanwhileKeepsWhatIsUnknown) {
  for (int i = 0; i < 3; ++i) put_known(i);
  clock_.step(25);
  index_.meanwhile = [this] { index_.down = true; };
  const CleanReport report = clean(kDay);
  EXPECT_EQ(report.index.deleted + report.listing.deleted, 0U);
  EXPECT_TRUE(has(0) && has(1) && has(2));
}

TEST_F(CleanTest, PressureDecidesByAgeWhereNothingElseCan) {
  for (int i = 0; i < 20; ++i) {
    put(i);
    clock_.step(1);
  }
  index_.down = true;
  const CleanReport report = clean({.max_bytes = 10 * kBlock});
  EXPECT_TRUE(report.blind);
  EXPECT_EQ(report.listing.deleted, 11U);
  EXPECT_FALSE(has(10));
  EXPECT_TRUE(has(11));
}

// It lacks blocks, says wrong sizes and knows blocks that are not there.
TEST_F(CleanTest, AnIndexThatLiesDoesNoHarm) {
  for (int i = 0; i < 10; ++i) put(i);
  const AdmittedBlock wrong{block(0), 1'000'000};
  const AdmittedBlock gone{block(99), 50};
  ASSERT_TRUE(is_ok(admit(index_, context_, {&wrong, 1}, clock_.now())));
  ASSERT_TRUE(is_ok(admit(index_, context_, {&gone, 1}, clock_.now())));
  clock_.step(1);
  clean({.max_bytes = 5 * kBlock});
  uint64_t left = 0;
  for (int i = 0; i < 10; ++i) left += has(i) ? 1 : 0;
  EXPECT_LE(left, 5U);
  EXPECT_GE(left, 4U) << "no more than had to go";
  clean({});
  EXPECT_EQ(index_.usage(context_, UsageOf::all())->blocks, left);
  EXPECT_EQ(index_.usage(context_, UsageOf::all())->bytes, left * kBlock);
}

TEST_F(CleanTest, UsesInTheFutureKeepNothingAboveTheBound) {
  for (int i = 0; i < 10; ++i) {
    put(i);
    const AdmittedBlock admitted{block(i), kBlock};
    const Timestamp ahead{clock_.now().ns + (100 + i) * kHourNs};
    ASSERT_TRUE(is_ok(admit(index_, context_, {&admitted, 1}, ahead)));
  }
  EXPECT_EQ(clean({.max_bytes = 5 * kBlock}).index.deleted, 6U);
  EXPECT_TRUE(has(9));
  EXPECT_FALSE(has(0));
  EXPECT_EQ(index_.usage(context_, UsageOf::all())->blocks, 4U);
  EXPECT_EQ(clean(kDay).index.deleted, 0U) << "for an age they are young";
}

TEST_F(CleanTest, ATierThatFailsIsToldAndTheRestGoesOn) {
  for (int i = 0; i < 250; ++i) put_known(i);
  clock_.step(25);
  faults_.fail(test::Verb::remove, 1, test::When::before, Error(Code::unavailable, "scripted"));
  const CleanReport report = clean(kDay);
  EXPECT_EQ(report.errors.size(), 1U);
  EXPECT_EQ(report.index.deleted, 150U);
  EXPECT_EQ(clean(kDay).index.deleted, 100U);
}

TEST_F(CleanTest, APlaceWithoutAMarkerIsRefused) {
  const auto bare = make_memory_store(clock_);
  const CleanedTier tier{bare.get(), nullptr, nullptr};
  EXPECT_TRUE(fails_with(Code::invalid, clean_tier(context_, tier, kDay, clock_, nullptr)));
}

}  // namespace
}  // namespace thaw::gc
