#include "run/save_paths.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <atomic>
#include <functional>

#include "object/memory.h"
#include "support/passing_store.h"
#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::run {
namespace {

using std::chrono::milliseconds;

// Does something before an object is kept.
class StoreThatActs final : public test::PassingStore {
 public:
  StoreThatActs(std::unique_ptr<ObjectStore> store, std::function<void(const std::string&)> act)
      : PassingStore(std::move(store)), act_(std::move(act)) {}
  Result<PutOutcome> put(const Context& context, const ObjectKey& key, Buffer bytes,
                         PutMode mode) override {
    act_(key.text());
    return PassingStore::put(context, key, std::move(bytes), mode);
  }

 private:
  const std::function<void(const std::string&)> act_;
};

class SavePaths : public ::testing::Test {
 protected:
  SavePaths() { test::write_text(folder_.path_of("file"), "first"); }

  // What was told by a save of the folder that `act` disturbs, with the store's keys behind it.
  std::vector<Event> save(const std::function<void(const std::string&)>& act,
                          bool hurried = false) {
    SavePlan plan{.names = {{folder_.path(), "k"}},
                  .half_restored = {},
                  .quiet = milliseconds(20),
                  .timeout = std::chrono::minutes(1)};
    const OpenPath open = [&](const Context&, size_t) -> Result<OpenedPath> {
      const auto store = std::make_shared<StoreThatActs>(make_memory_store(), act);
      OpenedPath path;
      path.owner = store;
      path.store = store.get();
      path.save = SaveRequest{.key = *Key::parse("k"), .path = folder_.path()};
      return path;
    };
    auto worker = Worker::start({}, [&](const WorkerCalls& calls) {
      StopFlag hurry;
      if (hurried) hurry.stop();
      save_paths({calls.context, hurry, calls.reporter}, open, plan);
    });
    EXPECT_TRUE(test::is_ok(worker));
    int status = 0;
    EXPECT_EQ(::waitpid(worker->pid(), &status, 0), worker->pid());
    worker->is_reaped();
    EXPECT_EQ(status, 0);
    return worker->reports();
  }

  // Changes the tree while it is stored, so many times.
  std::function<void(const std::string&)> changes(int times) {
    return [this, left = std::make_shared<int>(times)](const std::string& object) {
      if (!object.starts_with("packs/") || (*left)-- <= 0) return;
      test::write_text(folder_.path_of("file"), "changed " + std::to_string(*left));
    };
  }

  static std::vector<std::string> steps(const std::vector<Event>& events) {
    std::vector<std::string> names;
    names.reserve(events.size());
    for (const Event& each : events) names.push_back(each.value("event", ""));
    return names;
  }

  test::TempDir folder_;
};

TEST_F(SavePaths, WhatStaysQuietIsSavedOnce) {
  const auto events = save([](const std::string&) {});
  EXPECT_EQ(steps(events), (std::vector<std::string>{"settled", "save"}));
  EXPECT_EQ(events.back().value("reason", ""), "saved");
}

TEST_F(SavePaths, WhatChangesMeanwhileIsWaitedForAgain) {
  const auto events = save(changes(1));
  EXPECT_EQ(steps(events), (std::vector<std::string>{"settled", "settled", "save"}));
  EXPECT_EQ(events.back().value("reason", ""), "saved");
}

TEST_F(SavePaths, WhatChangesAllTheTimeIsNotSaved) {
  const auto events = save(changes(1000));
  EXPECT_EQ(steps(events), (std::vector<std::string>{"settled", "settled", "settled", "save"}));
  EXPECT_EQ(events.back().value("reason", ""), "busy");
  EXPECT_FALSE(events.back().value("ok", true));
}

TEST_F(SavePaths, WhoHurriesDoesNotWaitAndMixesNothing) {
  const auto saved = save(changes(1), true);
  EXPECT_EQ(steps(saved), std::vector<std::string>{"save"});
  EXPECT_EQ(saved.back().value("reason", ""), "saved");
  const auto busy = save(changes(1000), true);
  EXPECT_EQ(steps(busy), std::vector<std::string>{"save"});
  EXPECT_EQ(busy.back().value("reason", ""), "busy");
}

}  // namespace
}  // namespace thaw::run
