// Caches of several targets: what is restored is what one save stored, whatever became of others.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "cache/lookup.h"
#include "cache/restore_cache.h"
#include "cache/save_cache.h"
#include "object/memory.h"
#include "snapshot/catalog.h"
#include "support/faulty_store.h"
#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::cache {
namespace {

using test::Call;
using test::is_ok;
using test::Verb;
using test::When;

const std::vector<std::string> kTargets = {"a", "b", "c"};

class SeveralTargetsTest : public testing::Test {
 protected:
  // A machine whose targets hold `version`.
  struct Machine {
    test::TempDir place{};
    Environment environment{};

    std::string file(const std::string& target) const { return place.path_of(target + "/file"); }
    void fill(const std::string& version) const {
      for (const std::string& target : kTargets) fill_one(target, version);
    }
    void fill_one(const std::string& target, const std::string& version) const {
      std::filesystem::create_directories(place.path_of(target));
      test::write_text(file(target), target + " of " + version);
    }
    // Empty where no target is there; "mixed" where they differ.
    std::string version() const {
      std::string seen;
      for (const std::string& target : kTargets) {
        if (!std::filesystem::exists(file(target))) continue;
        const std::string text = test::read_text(file(target)).substr(target.size() + 4);
        if (!seen.empty() && seen != text) return "mixed";
        seen = text;
      }
      return seen;
    }
  };

  // `lock` is the part that may fall away.
  Job job_of(const Machine& machine, ObjectStore& store, bool force = false) const {
    return {.store = store,
            .environment = machine.environment,
            .facts = {},
            .scopes = {"branch.main"},
            .may_not_write = {},
            .anchors = {machine.place.path(), ""},
            .force = force};
  }
  static Environment locked(const std::string& lock) {
    return [lock](const char*) -> std::optional<std::string> { return lock; };
  }
  Record save(const std::string& version, const std::string& lock, bool force = false) {
    Machine machine{.environment = locked(lock)};
    machine.fill(version);
    return save_cache(root_, job_of(machine, *store_, force), definition_);
  }
  Record restore(const Machine& machine) {
    return restore_cache(root_, job_of(machine, *store_), definition_);
  }
  // What a new machine gets; a miss is "".
  std::string restored(const std::string& lock, Record* record = nullptr) {
    const Machine machine{.environment = locked(lock)};
    Record got = restore(machine);
    if (record != nullptr) *record = got;
    if (got.state == State::miss) {
      EXPECT_EQ(machine.version(), "");
    }
    return machine.version();
  }
  Found found(const std::string& lock) {
    const Machine machine{.environment = locked(lock)};
    const std::string& directory = machine.place.path();
    const auto address =
        Address::resolve(root_, definition_, {CiFacts(), machine.environment, directory, {}});
    const auto there = look_up(root_, *store_, *address, {"branch.main", 2}, nullptr);
    EXPECT_TRUE(is_ok(there));
    return there.ok() && *there ? **there : Found();
  }
  void remove(const Entry& entry) {
    EXPECT_TRUE(is_ok(retire(root_, *store_, ref_of(entry).key, entry.generation)));
  }
  void damage_packs_of(const Entry& entry) {
    const auto packs = load_packs(root_, *store_, entry);
    ASSERT_TRUE(is_ok(packs));
    for (const PackRef& pack : *packs) {
      EXPECT_TRUE(is_ok(store_->put(root_, pack_object(pack.id), Buffer(std::string("garbage")),
                                    PutMode::overwrite)));
    }
  }

  const Context root_{};
  test::Faults faults_;
  const std::unique_ptr<ObjectStore> store_ = test::faulty(make_memory_store(), faults_);
  const Definition definition_ =
      *define_cache("node", {"v1", "{fallback_limit: true}", "{env: LOCK}"}, kTargets);
};

TEST_F(SeveralTargetsTest, AreRestoredAsOneSaveStoredThem) {
  EXPECT_EQ(restored("1"), "");
  EXPECT_EQ(save("one", "1").state, State::saved);
  Record record;
  EXPECT_EQ(restored("1", &record), "one");
  EXPECT_EQ(record.hit, Hit::exact);
  EXPECT_EQ(restored("2", &record), "one");
  EXPECT_EQ(record.hit, Hit::fallback);
  EXPECT_EQ(save("two", "1").state, State::exists);
  EXPECT_EQ(save("two", "2").state, State::saved);
  EXPECT_EQ(restored("1"), "one");
  EXPECT_EQ(restored("2"), "two");
  EXPECT_EQ(restored("3"), "two");
}

TEST_F(SeveralTargetsTest, AHitCostsAListAndAGetForEach) {
  save("one", "1");
  const uint64_t lists = faults_.calls(Verb::list);
  const uint64_t gets = faults_.calls(Verb::get);
  EXPECT_EQ(found("1").entries.size(), 3U);
  EXPECT_EQ(faults_.calls(Verb::list) - lists, 1U);
  EXPECT_EQ(faults_.calls(Verb::get) - gets, 3U);
}

TEST_F(SeveralTargetsTest, UnchangedMeansAllOfThem) {
  const Machine machine{.environment = locked("1")};
  machine.fill("one");
  const Job job = job_of(machine, *store_, true);
  EXPECT_EQ(save_cache(root_, job, definition_).state, State::saved);
  EXPECT_EQ(save_cache(root_, job, definition_).state, State::unchanged);
  machine.fill_one("b", "two");
  const Record record = save_cache(root_, job, definition_);
  EXPECT_EQ(record.state, State::saved);
  // The same tree as before, beside another companion.
  EXPECT_EQ(record.generation, 2U);
  EXPECT_EQ(restored("1"), "mixed");
  EXPECT_EQ(restored("9"), "mixed");
  machine.fill_one("b", "one");
  EXPECT_EQ(save_cache(root_, job, definition_).state, State::saved);
  EXPECT_EQ(restored("1"), "one");
  EXPECT_EQ(restored("9"), "one");
}

// Each put fails in turn, and all that follow it: what a killed saver leaves.
TEST_F(SeveralTargetsTest, ASaverThatEndsAnywhereLeavesTheOldOrTheNew) {
  bool ended = false;
  uint64_t steps = 0;
  for (uint64_t step = 1; !ended; ++step) {
    const std::string before = std::to_string(step - 1);
    ASSERT_EQ(save(before, "1", true).state, State::saved);
    uint64_t puts = 0;
    faults_.on_call([&](const Call& call) -> Result<> {
      if (call.verb != Verb::put || call.when != When::before || ++puts < step) return {};
      return Error(Code::denied, "killed");
    });
    const std::string version = "killed at " + std::to_string(step);
    ended = save(version, "1", true).state == State::saved;
    faults_.heal();
    for (const char* lock : {"1", "9"}) {
      const std::string got = restored(lock);
      EXPECT_TRUE(got == before || got == version) << "step " << step << ": " << got;
    }
    // Nothing of the old is in the way of the next.
    EXPECT_EQ(save(version, "1", true).state, State::saved) << step;
    EXPECT_EQ(restored("1"), version);
    EXPECT_EQ(restored("9"), version);
    steps = step;
  }
  EXPECT_GT(steps, 10U);
}

// The shorter key is there whenever the whole one is: no later save would put it there.
TEST_F(SeveralTargetsTest, ASaverThatEndsAnywherePublishesTheWholeKeyLast) {
  bool ended = false;
  uint64_t without = 0;
  for (uint64_t step = 1; !ended; ++step) {
    uint64_t puts = 0;
    faults_.on_call([&](const Call& call) -> Result<> {
      if (call.verb != Verb::put || call.when != When::before || ++puts < step) return {};
      return Error(Code::denied, "killed");
    });
    const std::string version = std::to_string(step);
    ended = save(version, version).state == State::saved;
    faults_.heal();
    const bool exists = !found(version).entries.empty();
    const std::string fallback = restored("other");
    if (exists) {
      EXPECT_EQ(fallback, version);
    } else if (fallback == version) {
      ++without;
    }
    EXPECT_EQ(save(version, version).state == State::exists, exists) << step;
    EXPECT_EQ(restored(version), version);
    EXPECT_EQ(restored("other"), version);
  }
  // It did end between the two.
  EXPECT_GT(without, 0U);
}

// The second saver does all its work at each put of the first, before it and after it.
TEST_F(SeveralTargetsTest, OfTwoSaversAtOnceOneIsRestoredWhole) {
  for (const When when : {When::before, When::after}) {
    bool met = true;
    for (uint64_t step = 1; met; ++step) {
      uint64_t puts = 0;
      met = false;
      const std::string lock = std::to_string(static_cast<int>(when)) + std::to_string(step);
      faults_.on_call([&](const Call& call) -> Result<> {
        if (call.verb != Verb::put || call.when != when || met || ++puts < step) return {};
        met = true;
        EXPECT_EQ(save("theirs", lock, true).state, State::saved);
        return {};
      });
      EXPECT_EQ(save("ours", lock, true).state, State::saved);
      faults_.heal();
      for (const std::string& reader : {lock, std::string("other")}) {
        const std::string got = restored(reader);
        EXPECT_TRUE(got == "ours" || got == "theirs") << "step " << step << ": " << got;
      }
    }
  }
}

TEST_F(SeveralTargetsTest, AGoneCompanionIsAMissUntilTheNextSave) {
  save("one", "1");
  remove(found("1").entries[1]);
  EXPECT_EQ(restored("1"), "");
  EXPECT_EQ(restored("9"), "");
  EXPECT_EQ(save("two", "1").state, State::saved);
  EXPECT_EQ(restored("1"), "two");
  // An older save that is whole stands in for it, and the next save replaces it all the same.
  EXPECT_EQ(save("three", "1", true).state, State::saved);
  remove(found("1").entries[2]);
  EXPECT_EQ(restored("1"), "two");
  EXPECT_EQ(save("four", "1").state, State::saved);
  EXPECT_EQ(restored("1"), "four");
}

TEST_F(SeveralTargetsTest, AGoneRecordIsAMissWhateverLiesBesideIt) {
  save("one", "1");
  remove(found("1").entries[0]);
  Record record;
  EXPECT_EQ(restored("1", &record), "one");
  EXPECT_EQ(record.hit, Hit::fallback);
  EXPECT_EQ(save("two", "1").state, State::saved);
  EXPECT_EQ(restored("1"), "two");
}

TEST_F(SeveralTargetsTest, ACorruptCompanionIsRetiredWithItsRecord) {
  save("one", "1");
  save("two", "2");
  damage_packs_of(found("2").entries[1]);
  Record record;
  // The save before, for it is the newest under the shorter key that is whole.
  EXPECT_EQ(restored("2", &record), "one");
  EXPECT_EQ(record.hit, Hit::fallback);
  ASSERT_EQ(record.retired.size(), 2U);
  EXPECT_TRUE(record.retired[0].ends_with("/1@1")) << record.retired[0];
  EXPECT_TRUE(record.retired[1].ends_with("/0@1")) << record.retired[1];
  EXPECT_EQ(save("three", "2").state, State::saved);
  EXPECT_EQ(restored("2"), "three");
  EXPECT_EQ(restored("9"), "three");
}

TEST_F(SeveralTargetsTest, ACorruptCompanionsEntryIsRetiredWithItsRecord) {
  save("one", "1");
  const Entry companion = found("1").entries[2];
  const auto name = ObjectKey::parse(entry_name(ref_of(companion).key, companion.generation));
  EXPECT_TRUE(is_ok(store_->put(root_, *name, Buffer(std::string("garbage")), PutMode::overwrite)));
  Record record;
  EXPECT_EQ(restored("1", &record), "");
  EXPECT_EQ(record.state, State::failed);
  EXPECT_EQ(record.retired.size(), 2U);
  EXPECT_EQ(save("two", "1").state, State::saved);
  EXPECT_EQ(restored("1"), "two");
}

// A pull request's job, say: it gets the older save, and what is corrupt stays.
TEST_F(SeveralTargetsTest, WhoMayNotRetireLooksPastWhatIsCorrupt) {
  const auto read_only = [&](const std::string& lock, Record& record) {
    const Machine machine{.environment = locked(lock)};
    Job job = job_of(machine, *store_);
    job.may_not_write = "a pull request";
    record = restore_cache(root_, job, definition_);
    EXPECT_TRUE(record.retired.empty());
    return machine.version();
  };
  save("one", "1");
  save("two", "1", true);
  Record record;
  EXPECT_EQ(read_only("1", record), "two");
  const Found newest = found("1");
  damage_packs_of(newest.entries[0]);
  EXPECT_EQ(read_only("1", record), "one");
  EXPECT_EQ(record.hit, Hit::exact);
  EXPECT_EQ(record.generation, 1U);
  // The shorter key's newest record is of the same save.
  EXPECT_EQ(read_only("9", record), "one");
  EXPECT_EQ(record.hit, Hit::fallback);
  EXPECT_EQ(found("1").entries[0].generation, 2U);
  // One more that is corrupt: an entry, of a companion.
  save("three", "1", true);
  const Entry companion = found("1").entries[2];
  const auto name = ObjectKey::parse(entry_name(ref_of(companion).key, companion.generation));
  EXPECT_TRUE(is_ok(store_->put(root_, *name, Buffer(std::string("garbage")), PutMode::overwrite)));
  EXPECT_EQ(read_only("1", record), "one");
  EXPECT_EQ(record.hit, Hit::exact);
}

TEST_F(SeveralTargetsTest, WhatVanishesBehindTheFirstTargetIsAFailure) {
  save("one", "1");
  const Entry companion = found("1").entries[1];
  // Looked up, then removed before its turn comes.
  const std::string name = entry_name(ref_of(companion).key, companion.generation);
  int looks = 0;
  faults_.on_call([&](const Call& call) -> Result<> {
    if (call.verb != Verb::get || call.when != When::before || call.name != name) return {};
    if (++looks == 2) remove(companion);
    return {};
  });
  Record record;
  EXPECT_EQ(restored("1", &record), "one");
  EXPECT_EQ(record.state, State::failed);
  EXPECT_EQ(record.restored, std::vector<std::string>{"a"});
}

TEST_F(SeveralTargetsTest, TheFirstFormsEntriesAreMisses) {
  save("one", "1");
  // As they were published before records were: without the labels.
  Entry record = found("1").entries[0];
  remove(record);
  for (auto label = record.labels.begin(); label != record.labels.end();)
    label = label->first.starts_with("cache.companions") ? record.labels.erase(label) : ++label;
  record.nonce = RandomId::fresh();
  EXPECT_TRUE(is_ok(publish(root_, *store_, record)));
  EXPECT_TRUE(found("1").entries.empty());
  EXPECT_EQ(save("two", "1").state, State::saved);
  EXPECT_EQ(restored("1"), "two");
}

}  // namespace
}  // namespace thaw::cache
