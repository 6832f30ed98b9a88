#include "snapshot/lease.h"

#include <gtest/gtest.h>

#include <thread>

#include "object/memory.h"
#include "snapshot/presence.h"
#include "support/faulty_store.h"
#include "support/result_check.h"

namespace thaw {
namespace {

using test::is_ok;

class SteppedClock final : public WallClock {
 public:
  Timestamp now() const override { return Timestamp{ns_}; }
  void step(std::chrono::nanoseconds by) { ns_ += by.count(); }

 private:
  int64_t ns_ = 1'000'000'000'000;
};

class LeaseTest : public ::testing::Test {
 protected:
  std::vector<Lease> leases() {
    std::vector<Lease> found;
    const auto page = store_->list(context_, "leases/", {});
    for (const Listed& each : page->objects) {
      const auto object = store_->get(context_, each.key, {}, Freshness::any);
      found.push_back(*decode_lease(object->bytes));
    }
    return found;
  }
  void remove_all() {
    const auto page = store_->list(context_, "leases/", {});
    for (const Listed& each : page->objects)
      ASSERT_TRUE(is_ok(store_->remove(context_, {&each.key, 1})));
  }

  const Context context_;
  SteppedClock clock_;
  test::Faults faults_;
  std::unique_ptr<ObjectStore> store_ = test::faulty(make_memory_store(clock_), faults_);
};

TEST_F(LeaseTest, RenewalAddsAnObjectAndSaysSinceWhen) {
  LeaseNeeds needs;
  needs.packs.push_back(RandomId::fresh());
  auto lease = HeldLease::take(context_, *store_, needs, clock_);
  ASSERT_TRUE(is_ok(lease));
  const int64_t begun = clock_.now().ns;
  ASSERT_EQ(leases().size(), 1U);
  EXPECT_EQ(leases()[0].since_ns, 0);
  lease->renew_in_time(context_, *store_);
  EXPECT_EQ(leases().size(), 1U) << "it is young";
  for (int i = 0; i < 2; ++i) {
    clock_.step(kLeaseTtl / 2);
    lease->renew_in_time(context_, *store_);
  }
  ASSERT_EQ(leases().size(), 3U);
  size_t renewed = 0;
  for (const Lease& each : leases()) {
    EXPECT_EQ(each.packs, needs.packs);
    if (each.since_ns == 0) continue;
    EXPECT_EQ(each.since_ns, begun);
    ++renewed;
  }
  EXPECT_EQ(renewed, 2U);
  EXPECT_TRUE(*lease->still_held(context_, *store_));
  lease->give_back(context_, *store_);
  EXPECT_TRUE(leases().empty());
}

TEST_F(LeaseTest, OnceLostAlwaysLost) {
  auto lease = HeldLease::take(context_, *store_, {}, clock_);
  ASSERT_TRUE(is_ok(lease));
  remove_all();
  clock_.step(kLeaseTtl);
  lease->renew_in_time(context_, *store_);
  EXPECT_FALSE(*lease->still_held(context_, *store_));
  EXPECT_FALSE(*lease->still_held(context_, *store_));
}

// The one before goes just while it is renewed: what is put then does not count.
TEST_F(LeaseTest, ARenewalThatComesTooLateIsNone) {
  auto lease = HeldLease::take(context_, *store_, {}, clock_);
  ASSERT_TRUE(is_ok(lease));
  bool done = false;
  faults_.on_call([&](const test::Call& call) -> Result<> {
    if (call.verb != test::Verb::put || call.when != test::When::before || done) return {};
    done = true;
    remove_all();
    return {};
  });
  ASSERT_TRUE(is_ok(lease->renew(context_, *store_)));
  EXPECT_TRUE(done);
  EXPECT_EQ(leases().size(), 1U);
  EXPECT_FALSE(*lease->still_held(context_, *store_));
  lease->give_back(context_, *store_);
  EXPECT_TRUE(leases().empty());
}

// A collector listed the first one, out of time, before it was renewed, and removes it afterwards:
// of the second it knows nothing.
TEST_F(LeaseTest, TheFirstIsTheOneThatCounts) {
  auto lease = HeldLease::take(context_, *store_, {}, clock_);
  ASSERT_TRUE(is_ok(lease));
  const auto listed = store_->list(context_, "leases/", {});
  ASSERT_TRUE(is_ok(lease->renew(context_, *store_)));
  EXPECT_TRUE(*lease->still_held(context_, *store_));
  ASSERT_TRUE(is_ok(store_->remove(context_, {&listed->objects.front().key, 1})));
  EXPECT_FALSE(*lease->still_held(context_, *store_));
}

TEST_F(LeaseTest, ALongReadHoldsOne) {
  Entry entry;
  entry.key = "k";
  entry.manifest = ManifestRef{RandomId::fresh(), 1, {}};
  {
    const Presence presence(context_, *store_, entry,
                            {.lease_after = std::chrono::milliseconds(0)});
    while (leases().empty()) std::this_thread::yield();
    ASSERT_EQ(leases()[0].manifests.size(), 1U);
    EXPECT_EQ(leases()[0].manifests[0], std::get<ManifestRef>(entry.manifest).id);
    EXPECT_TRUE(store_->find(context_, *ObjectKey::parse("used/k/@"))->has_value());
  }
  EXPECT_TRUE(leases().empty());
}

TEST_F(LeaseTest, AShortReadHoldsNone) {
  Entry entry;
  entry.key = "k";
  entry.created_ns = system_clock().now().ns;
  { const Presence presence(context_, *store_, entry); }
  EXPECT_EQ(faults_.calls(test::Verb::put) + faults_.calls(test::Verb::find), 0U);
}

}  // namespace
}  // namespace thaw
