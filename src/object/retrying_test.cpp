#include "object/retrying.h"

#include <gmock/gmock.h>

#include <set>
#include <thread>

#include "object/memory.h"
#include "support/faulty_store.h"

namespace thaw {
namespace {

using std::chrono::milliseconds;
using test::Call;
using test::Verb;
using test::When;

Error unavailable() { return {Code::unavailable, "scripted"}; }

class Retrying : public ::testing::Test {
 protected:
  // A store over memory whose waits are recorded and take no time.
  std::unique_ptr<ObjectStore> with(RetryPolicy policy) {
    return retrying(test::faulty(make_memory_store(), faults_), policy,
                    [this](const Context&, milliseconds time) -> Result<> {
                      waits_.push_back(time);
                      return {};
                    });
  }
  Result<PutOutcome> put(ObjectStore& store, PutMode mode = PutMode::overwrite) {
    return store.put(context_, key_, Buffer(std::string("text")), mode);
  }
  std::string text_of(ObjectStore& store) {
    const auto got = store.get(context_, key_, ByteRange::whole(), Freshness::any);
    return got ? std::string(as_text(got->bytes.view())) : got.error().text();
  }

  test::Faults faults_;
  std::vector<milliseconds> waits_;
  const Context context_;
  const ObjectKey key_ = *ObjectKey::parse("a/b");
};

TEST_F(Retrying, TriesUntilItSucceeds) {
  const auto store = with({});
  for (uint64_t nth = 1; nth <= 4; ++nth) {
    faults_.fail(Verb::put, nth, When::before,
                 nth % 2 == 0 ? unavailable() : Error(Code::busy, ""));
  }
  const auto outcome = put(*store);
  ASSERT_TRUE(outcome) << outcome.error().text();
  EXPECT_EQ(*outcome, PutOutcome::stored);
  EXPECT_EQ(faults_.calls(Verb::put), 5U);
  EXPECT_EQ(waits_.size(), 4U);
  EXPECT_EQ(text_of(*store), "text");
}

TEST_F(Retrying, EveryVerbIsRetried) {
  const auto store = with({});
  ASSERT_TRUE(put(*store));
  for (const Verb verb : {Verb::get, Verb::put, Verb::find, Verb::list, Verb::remove}) {
    faults_.fail(verb, 1, When::after, unavailable());
  }
  EXPECT_TRUE(store->get(context_, key_, ByteRange::whole(), Freshness::any));
  EXPECT_TRUE(put(*store));
  EXPECT_TRUE(store->find(context_, key_)->has_value());
  EXPECT_EQ(store->list(context_, "a", {})->objects.size(), 1U);
  EXPECT_TRUE(store->remove(context_, std::span(&key_, 1)));
  EXPECT_EQ(waits_.size(), 5U);
}

TEST_F(Retrying, GivesUpAfterItsAttempts) {
  const auto store = with({.attempts = 3});
  faults_.fail_all(unavailable());
  const auto outcome = put(*store);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Code::unavailable);
  EXPECT_EQ(outcome.error().message(), "scripted");
  EXPECT_NE(outcome.error().text().find("3 of 3"), std::string::npos) << outcome.error().text();
  EXPECT_EQ(faults_.calls(Verb::put), 3U);
  EXPECT_EQ(waits_.size(), 2U);
}

TEST_F(Retrying, NoAttemptsMeansOne) {
  const auto store = with({.attempts = 0});
  EXPECT_TRUE(put(*store));
  faults_.fail_all(unavailable());
  EXPECT_FALSE(put(*store));
  EXPECT_EQ(faults_.calls(Verb::put), 2U);
}

TEST_F(Retrying, WhatAnotherTryCannotMendIsAnsweredAtOnce) {
  const auto store = with({});
  for (const Code code : {Code::not_found, Code::exists, Code::invalid, Code::denied, Code::corrupt,
                          Code::timeout, Code::exhausted, Code::cancelled, Code::internal}) {
    faults_.heal();
    faults_.fail_all(Error(code, "scripted"));
    const auto outcome = put(*store);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code(), code);
    EXPECT_EQ(outcome.error().text(), "scripted") << "nothing was retried, so nothing is said";
  }
  EXPECT_TRUE(waits_.empty());
}

TEST_F(Retrying, WaitsAreJitteredAndGrowToTheCap) {
  constexpr unsigned kAttempts = 8;
  const auto store = with({kAttempts, milliseconds(100), milliseconds(1000)});
  faults_.fail_all(unavailable());
  constexpr int kRounds = 200;
  std::array<milliseconds, kAttempts - 1> most{};
  std::set<milliseconds> distinct;
  for (int round = 0; round < kRounds; ++round) {
    waits_.clear();
    EXPECT_FALSE(put(*store));
    ASSERT_EQ(waits_.size(), most.size());
    for (size_t n = 0; n < most.size(); ++n) {
      const milliseconds bound = std::min(milliseconds(100 << n), milliseconds(1000));
      EXPECT_LE(waits_[n], bound);
      EXPECT_GE(waits_[n], milliseconds(0));
      most[n] = std::max(most[n], waits_[n]);
      distinct.insert(waits_[n]);
    }
  }
  EXPECT_GT(distinct.size(), 200U) << "full jitter";
  // Of 200 uniform draws none above half the bound has a chance of 2^-200.
  for (size_t n = 0; n < most.size(); ++n) {
    EXPECT_GT(most[n], std::min(milliseconds(50 << n), milliseconds(500)));
  }
}

TEST_F(Retrying, ManyAttemptsDoNotOverflowTheWait) {
  const auto store = with({200, milliseconds(1), milliseconds::max()});
  faults_.fail_all(unavailable());
  EXPECT_FALSE(put(*store));
  EXPECT_EQ(waits_.size(), 199U);
  for (const milliseconds wait : waits_) EXPECT_GE(wait, milliseconds(0));
}

TEST_F(Retrying, AWaitThatWouldPassTheDeadlineIsNotBegun) {
  // All waits are longer than what is left, but for about one in a billion.
  const auto store = with({5, milliseconds(int64_t{1} << 40), milliseconds(int64_t{1} << 40)});
  faults_.fail(Verb::find, 1, When::before, unavailable());
  const Context second = context_.within(milliseconds(1000));
  const auto found = store->find(second, key_);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), Code::unavailable) << "the last error, not a timeout";
  EXPECT_TRUE(waits_.empty());
  EXPECT_EQ(faults_.calls(Verb::find), 1U);
}

TEST_F(Retrying, StopsWaitingWhenStopped) {
  StopFlag flag;
  const auto store = retrying(test::faulty(make_memory_store(), faults_),
                              {5, milliseconds(int64_t{1} << 40), milliseconds(int64_t{1} << 40)});
  faults_.fail_all(unavailable());
  std::thread stopper([&] {
    while (faults_.calls(Verb::find) == 0) std::this_thread::yield();
    flag.stop();
  });
  const auto found = store->find(Context(flag), key_);
  stopper.join();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), Code::cancelled);
  EXPECT_EQ(faults_.calls(Verb::find), 1U);
}

TEST_F(Retrying, ReallyWaitsByDefault) {
  const auto store =
      retrying(test::faulty(make_memory_store(), faults_), {3, milliseconds(3), milliseconds(3)});
  faults_.fail(Verb::find, 1, When::before, unavailable());
  faults_.fail(Verb::find, 2, When::before, unavailable());
  EXPECT_TRUE(store->find(context_, key_));
  EXPECT_EQ(faults_.calls(Verb::find), 3U);
}

TEST_F(Retrying, ACreateWhoseAnswerWasLostAnswersExists) {
  const auto store = with({});
  faults_.fail(Verb::put, 1, When::after, unavailable());
  const auto outcome = put(*store, PutMode::create);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(*outcome, PutOutcome::exists);
  EXPECT_EQ(text_of(*store), "text");
}

TEST_F(Retrying, DescribesTheStack) {
  EXPECT_EQ(with({})->describe(), "retrying over faulty over memory");
}

}  // namespace
}  // namespace thaw
