#include "snapshot/open_snapshots.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>

#include "object/memory.h"
#include "snapshot/catalog.h"
#include "snapshot/save.h"
#include "support/faulty_store.h"
#include "support/passing_store.h"
#include "support/random_bytes.h"
#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;
using test::Verb;
using test::When;

class SteppedClock final : public WallClock {
 public:
  Timestamp now() const override { return {now_ns_.load()}; }
  void step(std::chrono::milliseconds time) { now_ns_ += std::chrono::nanoseconds(time).count(); }

 private:
  std::atomic<int64_t> now_ns_{1'000'000'000'000};
};

class OpenSnapshotsTest : public ::testing::Test {
 protected:
  // Generations of `key` that hold one file, "file", with this text. With `many` further files the
  // manifest is an object of its own.
  void save_text(const std::string& key, const std::string& text, int many = 0) {
    const test::TempDir source;
    test::write_text(source.path_of("file"), text);
    for (int i = 0; i < many; ++i) {
      test::write_text(source.path_of("more" + std::to_string(i)), std::to_string(i));
    }
    SaveRequest request{.key = *Key::parse(key), .path = source.path()};
    request.policy.allow_shrink = true;
    ASSERT_TRUE(is_ok(save(context_, *store_, request, nullptr)));
  }
  static KeyRef ref(std::string_view text) { return *KeyRef::parse(text); }
  std::string text_of(SnapshotReader& reader) {
    const auto file = reader.find_file("file");
    if (!file) return file.error().text();
    std::string text(file->size_bytes, '\0');
    const auto got =
        reader.read_at(context_, *file, 0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
    return got ? text : got.error().text();
  }
  uint64_t requests() const {
    return faults_.calls(Verb::get) + faults_.calls(Verb::list) + faults_.calls(Verb::find);
  }
  OpenOptions options() const {
    OpenOptions options;
    options.idle_for = std::chrono::minutes(5);
    options.most_idle = 3;
    return options;
  }

  const Context context_;
  SteppedClock clock_;
  test::Faults faults_;
  std::unique_ptr<ObjectStore> store_ = test::faulty(make_memory_store(), faults_);
  ChunkCache cache_{16 * 1024 * 1024};
  OpenSnapshots snapshots_{*store_, cache_, options(), context_, clock_};
};

TEST_F(OpenSnapshotsTest, OpensOnceAndSharesIt) {
  save_text("a", "one");
  const auto first = snapshots_.open(context_, ref("a"));
  ASSERT_TRUE(is_ok(first));
  EXPECT_EQ(text_of(**first), "one");
  const uint64_t before = requests();
  EXPECT_EQ(*snapshots_.open(context_, ref("a")), *first);
  EXPECT_EQ(requests(), before);
  EXPECT_EQ(*snapshots_.open(context_, ref("a@1")), *first) << "by another name";
  const auto entry = find_newest(context_, *store_, *Key::parse("a"));
  EXPECT_EQ(*snapshots_.open(context_, **entry), *first);
  EXPECT_EQ(snapshots_.find((*entry)->ids.snapshot), *first);
  EXPECT_EQ(snapshots_.find(Digest()), nullptr);
  EXPECT_EQ(snapshots_.open_count(), 1U);
}

TEST_F(OpenSnapshotsTest, TheNewestIsAskedForAgainAfterASecondAndANumberNever) {
  save_text("a", "one");
  const auto numbered = snapshots_.open(context_, ref("a@1"));
  ASSERT_TRUE(is_ok(snapshots_.open(context_, ref("a"))));
  save_text("a", "two");
  EXPECT_EQ(text_of(**snapshots_.open(context_, ref("a"))), "one");
  clock_.step(std::chrono::milliseconds(1001));
  EXPECT_EQ(text_of(**snapshots_.open(context_, ref("a"))), "two");
  EXPECT_EQ(text_of(**numbered), "one") << "what is held stays";
  clock_.step(std::chrono::minutes(1));
  faults_.fail_all(Error(Code::unavailable, "down"));
  EXPECT_EQ(*snapshots_.open(context_, ref("a@1")), *numbered);
}

TEST_F(OpenSnapshotsTest, AMissIsRememberedForASecondAtMost) {
  save_text("other", "x");
  EXPECT_TRUE(fails_with(Code::not_found, snapshots_.open(context_, ref("a"))));
  const uint64_t before = requests();
  EXPECT_TRUE(fails_with(Code::not_found, snapshots_.open(context_, ref("a"))));
  EXPECT_EQ(requests(), before);
  save_text("a", "one");
  clock_.step(std::chrono::milliseconds(999));
  EXPECT_TRUE(fails_with(Code::not_found, snapshots_.open(context_, ref("a"))));
  clock_.step(std::chrono::milliseconds(1));
  ASSERT_TRUE(is_ok(snapshots_.open(context_, ref("a"))));
}

TEST_F(OpenSnapshotsTest, AFailureIsForgottenAtOnce) {
  save_text("a", "one", 1000);
  const std::pair<Verb, const char*> steps[] = {
      {Verb::list, "keys/"}, {Verb::get, "keys/"}, {Verb::get, "manifests/"}};
  for (const auto& [verb, prefix] : steps) {
    std::atomic<int> failed{0};
    faults_.on_call([&, verb = verb, prefix = prefix](const test::Call& call) -> Result<> {
      if (call.verb != verb || call.when != When::before || !call.name.starts_with(prefix)) {
        return {};
      }
      ++failed;
      return Error(Code::unavailable, "down");
    });
    EXPECT_TRUE(fails_with(Code::unavailable, snapshots_.open(context_, ref("a")))) << prefix;
    EXPECT_EQ(failed.load(), 1) << prefix;
    faults_.heal();
    EXPECT_EQ(snapshots_.open_count(), 0U);
    clock_.step(std::chrono::seconds(2));
  }
  ASSERT_TRUE(is_ok(snapshots_.open(context_, ref("a"))));
}

TEST_F(OpenSnapshotsTest, WhoeverAsksAtTheSameTimeWaitsForOneOpen) {
  save_text("a", "one", 1000);
  const uint64_t before = faults_.calls(Verb::get);
  constexpr int kThreads = 16;
  std::latch start(kThreads);
  std::vector<std::shared_ptr<SnapshotReader>> opened(kThreads);
  std::vector<std::thread> threads;
  for (auto& each : opened) {
    threads.emplace_back([&] {
      start.arrive_and_wait();
      auto reader = snapshots_.open(context_, ref("a"));
      if (reader) each = *reader;
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& each : opened) EXPECT_EQ(each, opened[0]);
  ASSERT_NE(opened[0], nullptr);
  EXPECT_EQ(faults_.calls(Verb::get) - before, 2U) << "the entry and the manifest";
}

TEST_F(OpenSnapshotsTest, IdleOnesCloseAndHeldOnesStay) {
  save_text("a", "one");
  save_text("b", "two");
  auto held = snapshots_.open(context_, ref("a"));
  ASSERT_TRUE(is_ok(snapshots_.open(context_, ref("b"))));
  clock_.step(std::chrono::minutes(4));
  snapshots_.sweep(clock_.now());
  EXPECT_EQ(snapshots_.open_count(), 2U);
  clock_.step(std::chrono::minutes(1));
  snapshots_.sweep(clock_.now());
  EXPECT_EQ(snapshots_.open_count(), 1U);
  EXPECT_EQ(text_of(**held), "one");
  // It is idle from when it was last seen in use.
  held = Error(Code::internal, "let go");
  clock_.step(std::chrono::minutes(4));
  snapshots_.sweep(clock_.now());
  EXPECT_EQ(snapshots_.open_count(), 1U);
  clock_.step(std::chrono::minutes(1));
  ASSERT_TRUE(is_ok(snapshots_.open(context_, ref("b")))) << "any call sweeps";
  EXPECT_EQ(snapshots_.open_count(), 1U);
}

TEST_F(OpenSnapshotsTest, TheLongestUnusedCloseWhereManyAreOpen) {
  for (const char* key : {"a", "b", "c", "d", "e"}) {
    save_text(key, key);
    ASSERT_TRUE(is_ok(snapshots_.open(context_, ref(key))));
    clock_.step(std::chrono::milliseconds(1));
  }
  snapshots_.sweep(clock_.now());
  EXPECT_EQ(snapshots_.open_count(), 3U);
  const auto newest = find_newest(context_, *store_, *Key::parse("e"));
  EXPECT_NE(snapshots_.find((*newest)->ids.snapshot), nullptr);
}

TEST_F(OpenSnapshotsTest, OpensTheSnapshotsOfDamagedAndHealedLayoutsApart) {
  save_text("a", "one");
  save_text("b", "one");
  const auto first = snapshots_.open(context_, ref("a"));
  const auto second = snapshots_.open(context_, ref("b"));
  ASSERT_TRUE(is_ok(first));
  ASSERT_TRUE(is_ok(second));
  EXPECT_NE(*first, *second) << "equal trees that lie in packs of their own";
}

TEST_F(OpenSnapshotsTest, PartsOpenTogether) {
  save_text("vm/memory", "m");
  save_text("vm/rootfs", "r");
  const std::vector<PartRequest> parts{{"memory", ref("vm/memory"), "file"},
                                       {"rootfs", ref("vm/rootfs@1"), "file"},
                                       {"metadata", ref("vm/rootfs"), ""}};
  const auto opened = snapshots_.open_parts(context_, parts);
  ASSERT_TRUE(is_ok(opened));
  ASSERT_EQ(opened->size(), 3U);
  EXPECT_EQ(text_of(*(*opened)[0].reader), "m");
  EXPECT_EQ((*opened)[0].file.size_bytes, 1U);
  EXPECT_EQ((*opened)[1].reader, (*opened)[2].reader);
}

// Manifests do not come before the context ends.
class HangingStore final : public test::PassingStore {
 public:
  using PassingStore::PassingStore;
  Result<Fetched> get(const Context& context, const ObjectKey& key, ByteRange range,
                      const Wanted& wanted) override {
    while (key.text().starts_with("manifests/")) {
      ++hanging;
      THAW_CHECK(context.alive());
      std::this_thread::yield();
    }
    return PassingStore::get(context, key, range, wanted);
  }
  Result<ListPage> list(const Context& context, std::string_view prefix,
                        ListOptions options) override {
    while (prefix.starts_with("keys/vm/snapfile") && hanging == 0) std::this_thread::yield();
    return PassingStore::list(context, prefix, std::move(options));
  }
  std::atomic<uint64_t> hanging{0};
};

TEST_F(OpenSnapshotsTest, WhenOnePartFailsTheOthersAreCancelledAndNothingIsHeld) {
  save_text("vm/memory", "m", 1000);
  save_text("vm/rootfs", "r");
  HangingStore hanging(std::move(store_));
  OpenSnapshots snapshots(hanging, cache_, options(), context_, clock_);
  const std::vector<PartRequest> parts{{"memory", ref("vm/memory"), "file"},
                                       {"rootfs", ref("vm/rootfs"), "file"},
                                       {"snapfile", ref("vm/snapfile"), "file"}};
  const auto opened = snapshots.open_parts(context_, parts);
  ASSERT_TRUE(fails_with(Code::not_found, opened));
  EXPECT_TRUE(opened.error().text().starts_with("snapfile: ")) << opened.error().text();
  clock_.step(std::chrono::minutes(5));
  snapshots.sweep(clock_.now());
  EXPECT_EQ(snapshots.open_count(), 0U) << "nobody holds a part";
}

TEST_F(OpenSnapshotsTest, APartThatIsNoFileOfItsSnapshotIsNamed) {
  save_text("vm/memory", "m");
  const std::vector<PartRequest> parts{{"memory", ref("vm/memory"), "other"}};
  const auto missing = snapshots_.open_parts(context_, parts);
  ASSERT_TRUE(fails_with(Code::not_found, missing));
  EXPECT_TRUE(missing.error().text().starts_with("memory: "));
}

}  // namespace
}  // namespace thaw
