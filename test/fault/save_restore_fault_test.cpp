// The engine over a store that fails at each call in turn, and a process that dies there.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <map>

#include "object/memory.h"
#include "snapshot/catalog.h"
#include "snapshot/known_damage.h"
#include "snapshot/query.h"
#include "snapshot/restore.h"
#include "snapshot/save.h"
#include "support/faulty_store.h"
#include "support/random_bytes.h"
#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw {
namespace {

using test::is_ok;
using test::Verb;
using test::When;

class SaveRestoreFault : public ::testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGIO, SIG_IGN);
    std::filesystem::create_directories(source_ + "/folder");
    fill(1);
  }

  // A tree with small files, a large one, and enough of it that its manifest is an object of its
  // own. Versions differ in the large file and in one small file of a hundred.
  void fill(uint64_t version) {
    const bool all = !std::filesystem::exists(source_ + "/large");
    for (int i = 0; i < 1200; i += all ? 1 : 100) {
      test::write_text(source_ + "/folder/" + std::to_string(i),
                       std::to_string(i % 100 == 0 ? version : 0) + "/" + std::to_string(i));
    }
    const auto large = test::random_bytes(1'500'000, version);
    test::write_text(source_ + "/large", as_text(large));
  }

  SaveRequest save_request() const {
    SaveRequest request{.key = key_, .path = source_};
    request.threads = 2;
    request.policy.allow_shrink = true;
    return request;
  }
  Result<SaveReport> save_tree(ObjectStore& store) {
    return save(context_, store, save_request(), nullptr);
  }
  Result<RestoreReport> restore_tree(ObjectStore& store, const std::string& target) {
    RestoreRequest request{.ref = {key_, std::nullopt}, .target = target};
    request.threads = 2;
    return restore(context_, store, request, nullptr);
  }

  static std::map<std::string, std::string> contents_of(const std::string& folder) {
    std::map<std::string, std::string> contents;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file()) {
        contents[entry.path().lexically_relative(folder)] = test::read_text(entry.path());
      }
    }
    return contents;
  }

  // Every call that a save makes, as (verb, number), from a run without faults.
  std::vector<std::pair<Verb, uint64_t>> calls_of(const std::function<void(ObjectStore&)>& work,
                                                  test::Faults& faults, ObjectStore& store) {
    std::vector<std::pair<Verb, uint64_t>> calls;
    uint64_t before[5] = {};
    for (int verb = 0; verb < 5; ++verb) before[verb] = faults.calls(static_cast<Verb>(verb));
    work(store);
    for (int verb = 0; verb < 5; ++verb) {
      const uint64_t n = faults.calls(static_cast<Verb>(verb)) - before[verb];
      for (uint64_t i = 1; i <= n; ++i) calls.emplace_back(static_cast<Verb>(verb), i);
    }
    return calls;
  }

  const Context context_;
  const Key key_ = *Key::parse("site/shop");
  const test::TempDir dir_;
  const std::string source_ = dir_.path_of("source");
};

// Whatever call fails, before or after it took effect: the store holds the old generation or the
// new one, whole, and the next save succeeds.
TEST_F(SaveRestoreFault, ASaveThatFailsAtAnyCallLeavesAWholeStore) {
  test::Faults counting;
  auto counted = test::faulty(make_memory_store(), counting);
  ASSERT_TRUE(is_ok(save_tree(*counted)));
  fill(2);
  const auto calls = calls_of([&](ObjectStore& store) { ASSERT_TRUE(is_ok(save_tree(store))); },
                              counting, *counted);
  ASSERT_GT(calls.size(), 8U);

  for (const auto& [verb, number] : calls) {
    for (const When when : {When::before, When::after}) {
      SCOPED_TRACE("verb " + std::to_string(static_cast<int>(verb)) + ", call " +
                   std::to_string(number) + (when == When::before ? ", before" : ", after"));
      test::Faults faults;
      auto store = test::faulty(make_memory_store(), faults);
      fill(1);
      ASSERT_TRUE(is_ok(save_tree(*store)));
      fill(2);
      faults.fail(verb, number, when, Error(Code::internal, "on purpose"));
      const auto saved = save_tree(*store);
      faults.heal();
      const auto newest = find_newest(context_, *store, key_);
      ASSERT_TRUE(is_ok(newest));
      ASSERT_TRUE(newest->has_value());
      if (saved && saved->outcome == SaveOutcome::saved) {
        EXPECT_EQ((*newest)->ids, saved->ids);
      }
      const auto verified =
          verify(context_, *store, std::nullopt, 2, KnownDamage(std::nullopt), nullptr);
      ASSERT_TRUE(is_ok(verified));
      EXPECT_TRUE(verified->faults.empty());
      ASSERT_TRUE(is_ok(save_tree(*store)));
    }
  }
}

TEST_F(SaveRestoreFault, ARestoreThatFailsAtAnyCallLeavesTheTarget) {
  test::Faults faults;
  auto store = test::faulty(make_memory_store(), faults);
  ASSERT_TRUE(is_ok(save_tree(*store)));
  const std::string target = dir_.path_of("target");
  const auto calls = calls_of(
      [&](ObjectStore& counted) {
        ASSERT_TRUE(is_ok(restore_tree(counted, dir_.path_of("first"))));
      },
      faults, *store);
  std::filesystem::create_directories(target);
  test::write_text(target + "/mine", "as it was");
  for (const auto& [verb, number] : calls) {
    SCOPED_TRACE("verb " + std::to_string(static_cast<int>(verb)) + ", call " +
                 std::to_string(number));
    faults.fail(verb, number, When::before, Error(Code::internal, "on purpose"));
    EXPECT_FALSE(restore_tree(*store, target).ok());
    faults.heal();
    EXPECT_EQ(test::read_text(target + "/mine"), "as it was");
    EXPECT_FALSE(std::filesystem::exists(target + "/large"));
  }
  // Nothing else is left beside it.
  size_t names = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir_.path()))
    ++names;
  EXPECT_EQ(names, 3U) << "source, first, target";
}

// Damage on the way here, once: what was damaged is read again, and the tree is right.
TEST_F(SaveRestoreFault, AChangedByteOfAnyAnswerIsMended) {
  test::Faults faults;
  auto store = test::faulty(make_memory_store(), faults);
  ASSERT_TRUE(is_ok(save_tree(*store)));
  const std::string first = dir_.path_of("first");
  const uint64_t before = faults.calls(Verb::get);
  ASSERT_TRUE(is_ok(restore_tree(*store, first)));
  const uint64_t gets = faults.calls(Verb::get) - before;
  const uint64_t seed = test::fresh_seed();
  SCOPED_TRACE(seed);
  test::TestRandom random(seed);
  const std::string target = dir_.path_of("target");
  // The first answer is the store's marker: it is what it is.
  for (uint64_t n = 2; n <= gets; ++n) {
    for (int round = 0; round < 3; ++round) {
      const std::function<Buffer(Buffer)> flip = [&](Buffer bytes) {
        return test::with_flipped_byte(random.below(bytes.size()))(std::move(bytes));
      };
      for (const auto& damage : {flip, std::function(test::truncated_to(random.below(30)))}) {
        faults.change_get(n, damage);
        EXPECT_TRUE(is_ok(restore_tree(*store, target))) << "get " << n;
        EXPECT_EQ(contents_of(target), contents_of(first)) << "get " << n;
        std::filesystem::remove_all(target);
        faults.heal();
      }
    }
  }
}

// Damage that stays: no wrong byte, and the target as it was.
TEST_F(SaveRestoreFault, AChangedByteOfEveryAnswerIsNoticed) {
  test::Faults faults;
  auto store = test::faulty(make_memory_store(), faults);
  ASSERT_TRUE(is_ok(save_tree(*store)));
  const std::string first = dir_.path_of("first");
  ASSERT_TRUE(is_ok(restore_tree(*store, first)));
  const uint64_t seed = test::fresh_seed();
  SCOPED_TRACE(seed);
  test::TestRandom random(seed);
  const std::string target = dir_.path_of("target");
  for (int round = 0; round < 30; ++round) {
    const uint64_t from = 2 + random.below(4);
    const uint64_t place = random.next();
    for (uint64_t n = from; n < from + 40; ++n) {
      faults.change_get(n, [place](Buffer bytes) {
        return test::with_flipped_byte(place % bytes.size())(std::move(bytes));
      });
    }
    // A few bits carry no meaning (zstd ignores one in each frame's header): then the tree is
    // right.
    if (restore_tree(*store, target)) {
      EXPECT_EQ(contents_of(target), contents_of(first)) << "from get " << from;
    } else {
      EXPECT_FALSE(std::filesystem::exists(target)) << "from get " << from;
    }
    std::filesystem::remove_all(target);
    faults.heal();
  }
}

// A collector that took the lease away while the save was under way: the generation is retracted.
TEST_F(SaveRestoreFault, ASaveWhoseLeaseIsGoneRetracts) {
  test::Faults faults;
  auto store = test::faulty(make_memory_store(), faults);
  ASSERT_TRUE(is_ok(save_tree(*store)));
  fill(2);
  std::vector<ObjectKey> leases;
  faults.on_call([&](const test::Call& call) -> Result<> {
    if (call.verb != Verb::put || call.when != When::after) return {};
    if (call.name.starts_with("leases/")) leases.push_back(*ObjectKey::parse(call.name));
    // The entry is in place, and the lease goes before the saver looks at it.
    if (call.name.starts_with("keys/") && !leases.empty()) {
      const auto gone = std::exchange(leases, {});
      return store->remove(context_, gone);
    }
    return {};
  });
  const auto saved = save_tree(*store);
  EXPECT_TRUE(test::fails_with(Code::busy, saved));
  faults.heal();
  EXPECT_EQ((*find_newest(context_, *store, key_))->generation, 1U);
  ASSERT_TRUE(is_ok(save_tree(*store)));
  EXPECT_EQ((*find_newest(context_, *store, key_))->generation, 3U) << "number 2 is not used again";
}

// A base that is removed between the first look and the lease is no base: nothing refers to its
// packs.
TEST_F(SaveRestoreFault, ABaseThatVanishesBeforeTheLeaseIsNotUsed) {
  test::Faults faults;
  auto store = test::faulty(make_memory_store(), faults);
  const auto first = save_tree(*store);
  ASSERT_TRUE(is_ok(first));
  fill(2);
  bool retired = false;
  faults.on_call([&](const test::Call& call) -> Result<> {
    if (call.verb != Verb::put || call.when != When::before || !call.name.starts_with("leases/") ||
        retired)
      return {};
    retired = true;
    const auto done = retire(context_, *store, key_, 1);
    return done ? Result<>() : Result<>(done.error());
  });
  const auto saved = save_tree(*store);
  ASSERT_TRUE(is_ok(saved));
  EXPECT_TRUE(retired);
  EXPECT_EQ(saved->new_bytes, saved->stored_bytes);
}

}  // namespace
}  // namespace thaw
