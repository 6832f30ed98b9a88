#include "cache/fan_out.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>

#include "object/memory.h"

namespace thaw::cache {
namespace {

class FanOutTest : public testing::Test {
 protected:
  FanOutTest() {
    for (int i = 0; i < 20; ++i)
      definitions_.push_back(
          *define_cache("c" + std::to_string(i), {"v1"}, {"t" + std::to_string(i)}));
  }

  std::vector<Record> run(const Context& context, const Work& work,
                          const std::function<void(const Record&)>& done = {}) {
    const Job job{.store = *store_,
                  .environment = environment_,
                  .facts = {},
                  .scopes = {"unscoped"},
                  .may_not_write = {},
                  .anchors = {"/nowhere/job", ""}};
    return fan_out(context, job, definitions_, 4, work, done);
  }

  static Record miss_of(const Definition& definition) {
    Record record;
    record.name = definition.name;
    record.state = State::miss;
    return record;
  }

  const std::unique_ptr<ObjectStore> store_ = make_memory_store();
  const Environment environment_ = [](const char*) { return std::nullopt; };
  std::vector<Definition> definitions_;
};

TEST_F(FanOutTest, EachIsAloneInItsFailure) {
  const Context context;
  std::set<std::string> told;  // not locked: one thread at a time tells
  const auto records = run(
      context,
      [](const Context&, const Job&, const Definition& definition) {
        Record record = miss_of(definition);
        if (definition.name == "c3") {
          record.state = State::failed;
          record.error = Error(Code::unavailable, "no store");
        }
        return record;
      },
      [&](const Record& record) { told.insert(record.name); });
  ASSERT_EQ(records.size(), definitions_.size());
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i].name, definitions_[i].name);
    EXPECT_EQ(records[i].state, i == 3 ? State::failed : State::miss);
  }
  EXPECT_EQ(told.size(), definitions_.size());
}

TEST_F(FanOutTest, WhatIsNotBegunSaysWhy) {
  const Context root;
  const Context context = root.within(std::chrono::milliseconds(0));
  for (const Record& record : run(context, [](const Context&, const Job&, const Definition& each) {
         return miss_of(each);
       })) {
    EXPECT_EQ(record.state, State::failed);
    ASSERT_TRUE(record.error);
    EXPECT_EQ(record.error->code(), Code::timeout);
  }
}

TEST_F(FanOutTest, WhatIsStoppedByADeadlineSaysSo) {
  const Context root;
  const Context context = root.within(std::chrono::milliseconds(20));
  const auto records = run(context, [](const Context& inner, const Job&, const Definition& each) {
    Record record = miss_of(each);
    while (inner.alive()) {
    }
    record.state = State::failed;
    record.error = inner.alive().error();
    return record;
  });
  for (const Record& record : records) {
    ASSERT_TRUE(record.error) << record.name;
    EXPECT_EQ(record.error->code(), Code::timeout) << record.name;
  }
}

}  // namespace
}  // namespace thaw::cache
