#include "snapshot/saving.h"

#include <gtest/gtest.h>

#include "object/memory.h"
#include "snapshot/catalog.h"
#include "snapshot/condemned.h"
#include "support/faulty_store.h"
#include "support/result_check.h"
#include "support/sample_manifest.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;
using test::Verb;
using test::When;

class SteppedClock final : public WallClock {
 public:
  Timestamp now() const override { return Timestamp{ns_}; }
  void step(std::chrono::nanoseconds by) { ns_ += by.count(); }

 private:
  int64_t ns_ = 1'800'000'000LL * 1'000'000'000;
};

class SavingTest : public ::testing::Test {
 protected:
  SavingTest() {
    manifest_.tree = test::empty_tree();
    manifest_.layout.packs.push_back({RandomId::fresh(), 64, 0});
    EXPECT_TRUE(is_ok(
        store_->put(context_, pack_object(pack()), Buffer(std::string(64, 'x')), PutMode::create)));
    base_.key = "base";
    base_.nonce = RandomId::fresh();
    base_.manifest = Buffer(*encode_manifest(context_, manifest_, 1));
    base_.generation = *thaw::publish(context_, *store_, base_);
    entry_ = base_;
    entry_.nonce = RandomId::fresh();
  }
  const RandomId& pack() const { return manifest_.layout.packs[0].id; }
  Saving begin() { return *Saving::begin(context_, *store_, soundness_, {base_}, clock_); }
  // The collector's part.
  void remove_leases() {
    const auto page = store_->list(root_, "leases/", {});
    for (const Listed& each : page->objects)
      ASSERT_TRUE(is_ok(store_->remove(root_, {&each.key, 1})));
  }
  // Calls `then` when an entry of this key was put; an error is the put's.
  void when_put(const Key& key, std::function<Result<>()> then) {
    faults_.on_call([=, name = "keys/" + key.text() + "/"](const test::Call& call) -> Result<> {
      if (call.verb != Verb::put || call.when != When::after || !call.is_create) return {};
      return call.name.starts_with(name) ? then() : Result<>();
    });
  }
  bool is_live(const Key& key) { return find_newest(root_, *store_, key)->has_value(); }

  const Context root_;
  StopFlag stop_;
  const Context context_{stop_};
  SteppedClock clock_;
  test::Faults faults_;
  std::unique_ptr<ObjectStore> store_ = test::faulty(make_memory_store(clock_), faults_);
  Soundness soundness_{*store_, {}, 1};
  Manifest manifest_;
  Entry base_;
  Entry entry_;
  const std::vector<Key> keys_{*Key::parse("one"), *Key::parse("two")};
};

TEST_F(SavingTest, ABaseWithACondemnedPackIsNone) {
  Saving saving = begin();
  EXPECT_EQ(saving.load_bases(context_)->size(), 1U);
  Condemned condemned;
  condemned.packs.push_back(pack());
  ASSERT_TRUE(is_ok(store_->put(context_, condemned_object(RandomId::fresh()),
                                *encode_condemned(condemned), PutMode::create)));
  Saving later = begin();
  EXPECT_TRUE(later.load_bases(context_)->empty());
}

TEST_F(SavingTest, ASaverWhoseLeaseIsGonePublishesNothing) {
  Saving saving = begin();
  remove_leases();
  clock_.step(2 * kLeaseTtl);
  ASSERT_TRUE(fails_with(Code::busy, saving.publish(context_, entry_, keys_)));
  EXPECT_TRUE(find_newest(context_, *store_, keys_[0]).ok());
  EXPECT_TRUE(generations_of(context_, *store_, keys_[0])->empty());
}

TEST_F(SavingTest, ASaverWhoseLeaseIsGoneMeanwhileRetracts) {
  Saving saving = begin();
  when_put(keys_[1], [&]() -> Result<> {
    remove_leases();
    return {};
  });
  ASSERT_TRUE(fails_with(Code::busy, saving.publish(context_, entry_, keys_)));
  EXPECT_FALSE(is_live(keys_[0]));
  EXPECT_FALSE(is_live(keys_[1]));
}

// Paused with a put under way: when it wakes up, its --timeout is over, or it is told to stop.
TEST_F(SavingTest, ASaverWhoseLeaseIsGoneRetractsThoughItsTimeIsOver) {
  Saving saving = begin();
  when_put(keys_[1], [&]() -> Result<> {
    remove_leases();
    clock_.step(24 * kLeaseTtl);
    stop_.stop();
    return {};
  });
  ASSERT_TRUE(fails_with(Code::busy, saving.publish(context_, entry_, keys_)));
  EXPECT_FALSE(is_live(keys_[0]));
  EXPECT_FALSE(is_live(keys_[1]));
}

// The second of two entries cannot be put, or so it seems: the first one is not left behind.
TEST_F(SavingTest, ASaverWhoseLeaseIsGoneRetractsAllOfSeveralKeys) {
  Saving saving = begin();
  when_put(keys_[1], [&]() -> Result<> {
    remove_leases();
    return Error(Code::unavailable, "its answer is lost");
  });
  ASSERT_TRUE(fails_with(Code::busy, saving.publish(context_, entry_, keys_)));
  EXPECT_FALSE(is_live(keys_[0]));
  EXPECT_FALSE(is_live(keys_[1]));
}

TEST_F(SavingTest, AnErrorBesideALeaseThatIsHeldIsItsOwn) {
  Saving saving = begin();
  when_put(keys_[1], [] { return Result<>(Error(Code::denied, "not you")); });
  ASSERT_TRUE(fails_with(Code::denied, saving.publish(context_, entry_, keys_)));
  EXPECT_TRUE(is_live(keys_[0]));
}

}  // namespace
}  // namespace thaw
