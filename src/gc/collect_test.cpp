#include "gc/collect.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "format/limits.h"
#include "object/memory.h"
#include "object/metered.h"
#include "snapshot/catalog.h"
#include "snapshot/lease.h"
#include "snapshot/saving.h"
#include "support/faulty_store.h"
#include "support/result_check.h"
#include "support/sample_manifest.h"

namespace thaw::gc {
namespace {

using test::fails_with;
using test::is_ok;

class Calendar final : public WallClock {
 public:
  Timestamp now() const override { return Timestamp{ns_}; }
  void step(std::chrono::nanoseconds by) { ns_ += by.count(); }
  void next_days() { ns_ += 3 * 86'400LL * 1'000'000'000; }

 private:
  int64_t ns_ = 1'800'000'000LL * 1'000'000'000;
};

class CollectTest : public ::testing::Test {
 protected:
  CollectTest() { EXPECT_TRUE(is_ok(prepare_store(context_, *store_))); }

  void put(const ObjectKey& object) {
    ASSERT_TRUE(
        is_ok(store_->put(context_, object, Buffer(std::string(64, 'x')), PutMode::create)));
  }
  // A generation of so many packs, which it names itself.
  Entry publish_one(const std::string& key, uint64_t packs) {
    Entry entry;
    entry.key = key;
    entry.nonce = RandomId::fresh();
    entry.manifest = ManifestRef{RandomId::fresh(), 64, {}};
    put(manifest_object(std::get<ManifestRef>(entry.manifest).id));
    for (uint64_t i = 0; i < packs; ++i) {
      entry.packs.push_back({RandomId::fresh(), 64});
      put(pack_object(entry.packs.back().id));
    }
    const auto published = publish(context_, *store_, entry);
    EXPECT_TRUE(is_ok(published));
    entry.generation = published.ok() ? *published : 0;
    return entry;
  }
  Result<CollectReport> run(Access access = Access::collect) {
    CollectOptions options;
    options.access = access;
    options.threads = 2;
    return collect(context_, *store_, options, nullptr);
  }
  uint64_t objects(const char* prefix) {
    const auto page = store_->list(context_, prefix, {});
    return page ? page->objects.size() : UINT64_MAX;
  }

  const Context context_;
  Calendar clock_;
  StoreMeter meter_;
  test::Faults faults_;
  std::unique_ptr<ObjectStore> store_ =
      metered(test::faulty(make_memory_store(clock_), faults_), meter_);
};

TEST_F(CollectTest, ARequestForEachThousandNamesAndOneForEachGeneration) {
  constexpr uint64_t kKeys = 150;
  constexpr uint64_t kPacks = 20;
  for (uint64_t i = 0; i < kKeys; ++i) publish_one(fmt::format("k/{}", i), kPacks);
  clock_.next_days();
  const uint64_t lists = meter_.lists;
  const uint64_t gets = meter_.gets;
  const auto report = run(Access::look);
  ASSERT_TRUE(is_ok(report));
  EXPECT_EQ(report->plan.generations, kKeys);
  EXPECT_EQ(report->plan.live.objects, kKeys * (kPacks + 1));
  // One for each of eleven prefixes and gaps, and a page for each further 1,000 names.
  EXPECT_LE(meter_.lists - lists, 16 + kKeys * (kPacks + 2) / 1000);
  EXPECT_EQ(meter_.gets - gets, kKeys + 1) << "the entries and the marker";
}

TEST_F(CollectTest, WhatIsRemovedGoesInTwoRuns) {
  const Entry gone = publish_one("k", 3);
  publish_one("k", 2);
  ASSERT_TRUE(is_ok(retire(context_, *store_, *Key::parse("k"), gone.generation)));
  clock_.next_days();
  auto report = run();
  ASSERT_TRUE(is_ok(report));
  EXPECT_EQ(report->marked.objects, 4U);
  EXPECT_EQ(objects("packs/"), 5U);
  clock_.next_days();
  report = run();
  ASSERT_TRUE(is_ok(report));
  EXPECT_EQ(report->swept.objects, 4U);
  EXPECT_EQ(objects("packs/"), 2U);
  EXPECT_EQ(objects("manifests/"), 1U);
  EXPECT_EQ(objects("condemned/"), 0U);
}

// Each request of a run fails once, and its answer is lost once: whatever that leaves, what is
// needed stays, and quiet runs take the rest: two the objects, a third what the failed run claimed.
TEST_F(CollectTest, EveryRequestMayFail) {
  for (uint64_t nth = 1;; ++nth) {
    store_ = test::faulty(make_memory_store(clock_), faults_);
    ASSERT_TRUE(is_ok(prepare_store(context_, *store_)));
    const Entry gone = publish_one("k", 2);
    publish_one("k", 2);
    ASSERT_TRUE(is_ok(retire(context_, *store_, *Key::parse("k"), gone.generation)));
    clock_.next_days();
    ASSERT_TRUE(is_ok(run()));
    clock_.next_days();
    uint64_t calls = 0;
    bool failed = false;
    faults_.on_call([&](const test::Call& call) -> Result<> {
      const test::When when = nth % 2 == 0 ? test::When::before : test::When::after;
      if (call.when != when || ++calls != (nth + 1) / 2) return {};
      failed = true;
      return Error(Code::unavailable, "as the test says");
    });
    const auto report = run();
    EXPECT_TRUE(!failed || !report || report->fault) << nth;
    faults_.heal();
    for (int quiet = 0; quiet < 3; ++quiet) {
      clock_.next_days();
      ASSERT_TRUE(is_ok(run()));
    }
    ASSERT_EQ(objects("packs/"), 2U) << nth;
    ASSERT_EQ(objects("manifests/"), 1U) << nth;
    ASSERT_EQ(objects("condemned/"), 0U) << nth;
    if (!failed) {
      EXPECT_GT(nth, 20U);
      return;
    }
  }
}

// One that works for days: its first lease is long out of time, and stays with those that renewed
// it.
TEST_F(CollectTest, LeasesOfOneHolderStayOrGoTogether) {
  auto lease = HeldLease::take(context_, *store_, {}, clock_);
  ASSERT_TRUE(is_ok(lease));
  for (int half = 0; half < 6; ++half) {
    clock_.step(kLeaseTtl / 2);
    lease->renew_in_time(context_, *store_);
    ASSERT_TRUE(is_ok(run()));
    EXPECT_TRUE(*lease->still_held(context_, *store_)) << half;
  }
  EXPECT_EQ(objects("leases/"), 7U);
  clock_.step(2 * kLeaseTtl);
  ASSERT_TRUE(is_ok(run()));
  EXPECT_EQ(objects("leases/"), 0U);
  EXPECT_FALSE(*lease->still_held(context_, *store_));
}

// While a collector is at work by a record, of which an entry came to need something after all,
// another one runs, a saver wants the entry as its base, and the entry is removed: the record
// stays, and the saver relies on nothing that it names.
TEST_F(CollectTest, ARecordThatSomebodySweepsByStays) {
  Manifest manifest;
  manifest.tree = test::empty_tree();
  Entry base;
  base.key = "k";
  base.nonce = RandomId::fresh();
  manifest.layout.packs.push_back({RandomId::fresh(), 64, 0});
  const RandomId pack = manifest.layout.packs[0].id;
  put(pack_object(pack));
  base.manifest = Buffer(*encode_manifest(context_, manifest, 1));
  base.generation = *publish(context_, *store_, base);
  Condemned proposal;
  proposal.packs.push_back(pack);
  ASSERT_TRUE(is_ok(store_->put(context_, condemned_object(RandomId::fresh()),
                                *encode_condemned(proposal), PutMode::create)));
  clock_.next_days();
  Soundness soundness(*store_, {}, 1);
  std::optional<Saving> saving;
  bool done = false;
  faults_.on_call([&](const test::Call& call) -> Result<> {
    if (done || call.verb != test::Verb::list || call.name != "keys/") return {};
    done = true;
    EXPECT_TRUE(is_ok(run()));
    EXPECT_EQ(objects("condemned/"), 1U) << "it is claimed by the run around this one";
    auto begun = Saving::begin(context_, *store_, soundness, {base}, clock_);
    EXPECT_TRUE(is_ok(begun));
    saving.emplace(*std::move(begun));
    EXPECT_EQ(saving->load_bases(context_)->size(), 0U);
    EXPECT_TRUE(is_ok(retire(context_, *store_, *Key::parse("k"), base.generation)));
    return {};
  });
  ASSERT_TRUE(is_ok(run()));
  EXPECT_TRUE(done);
  EXPECT_FALSE(store_->find(context_, pack_object(pack))->has_value());
  EXPECT_EQ(objects("condemned/"), 0U);
  EXPECT_EQ(objects("sweeping/"), 0U);
}

TEST_F(CollectTest, AKeyThatGoesLosesItsOldestGenerationFirst) {
  for (int i = 0; i < 3; ++i) publish_one("k", 1);
  clock_.next_days();
  CollectOptions options;
  options.access = Access::collect;
  options.plan.retention.push_back({.ttl = std::chrono::hours(1)});
  uint64_t entries = 0;
  faults_.on_call([&](const test::Call& call) -> Result<> {
    if (call.verb != test::Verb::put || call.when != test::When::before) return {};
    if (!call.name.starts_with("keys/") || ++entries < 2) return {};
    return Error(Code::unavailable, "as the test says");
  });
  const auto report = collect(context_, *store_, options, nullptr);
  ASSERT_TRUE(is_ok(report));
  EXPECT_TRUE(report->fault);
  EXPECT_EQ(report->retired, 1U);
  const auto newest = find_newest(context_, *store_, *Key::parse("k"));
  ASSERT_TRUE(is_ok(newest));
  EXPECT_EQ((*newest)->generation, 3U);
}

// The record that a run has begun with is not taken for an old one, however short the grace period.
TEST_F(CollectTest, WithoutAnyGraceItTakesTwoRunsAsWell) {
  put(pack_object(RandomId::fresh()));
  CollectOptions options;
  options.access = Access::collect;
  options.plan.grace = std::chrono::seconds(0);
  auto report = collect(context_, *store_, options, nullptr);
  ASSERT_TRUE(is_ok(report));
  EXPECT_EQ(report->marked.objects, 1U);
  EXPECT_EQ(objects("condemned/"), 1U);
  report = collect(context_, *store_, options, nullptr);
  ASSERT_TRUE(is_ok(report));
  EXPECT_EQ(report->swept.objects, 1U);
  EXPECT_EQ(objects("packs/") + objects("condemned/"), 0U);
}

TEST_F(CollectTest, ManyCondemnedObjectsTakeSeveralRecords) {
  const uint64_t count = limits::kCondemnedObjects + 5;
  for (uint64_t i = 0; i < count; ++i) put(pack_object(RandomId::fresh()));
  clock_.next_days();
  ASSERT_TRUE(is_ok(run()));
  EXPECT_EQ(objects("condemned/"), 2U);
  clock_.next_days();
  const auto report = run();
  ASSERT_TRUE(is_ok(report));
  EXPECT_EQ(report->swept.objects, count);
  EXPECT_EQ(objects("condemned/"), 0U);
}

TEST_F(CollectTest, AManifestHeadThatCannotBeReadStopsIt) {
  Entry entry = publish_one("k", 1);
  entry.packs.clear();  // then its head would say
  ASSERT_TRUE(is_ok(publish(context_, *store_, entry)));
  const auto report = run();
  ASSERT_TRUE(fails_with(Code::corrupt, report));
  EXPECT_NE(report.error().text().find("thaw rm k@2 --yes"), std::string::npos);
}

}  // namespace
}  // namespace thaw::gc
