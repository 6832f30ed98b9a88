#include "object/tier_breaker.h"

#include <gtest/gtest.h>

namespace thaw {
namespace {

using std::chrono::milliseconds;
using Outcome = TierBreaker::Outcome;
using Permit = TierBreaker::Permit;

class Breaker : public ::testing::Test {
 protected:
  Permit read(Outcome outcome) {
    const Permit permit = breaker_.enter(now_);
    if (permit != Permit::no) breaker_.settle(permit, outcome, now_);
    return permit;
  }
  void fail(int times) {
    for (int i = 0; i < times; ++i) read(Outcome::failed);
  }
  // Whether it lets a read through once so much time has passed, and not a moment earlier.
  bool rests_for(milliseconds time) {
    const bool early = breaker_.enter(now_ + time - milliseconds(1)) != Permit::no;
    now_ += time;
    return !early;
  }

  TierBreaker breaker_{3, milliseconds(100)};
  TierBreaker::Time now_{};
};

TEST_F(Breaker, OpensAfterFailures) {
  fail(2);
  EXPECT_TRUE(breaker_.is_closed());
  EXPECT_EQ(read(Outcome::failed), Permit::go);
  EXPECT_FALSE(breaker_.is_closed());
  EXPECT_EQ(read(Outcome::hit), Permit::no);
}

TEST_F(Breaker, OneThatFailsEverySecondTimeOpens) {
  for (const Outcome answer : {Outcome::hit, Outcome::absent}) {
    TierBreaker breaker(3, milliseconds(100));
    for (int i = 0; i < 2; ++i) {
      breaker.settle(breaker.enter(now_), Outcome::failed, now_);
      breaker.settle(breaker.enter(now_), answer, now_);
    }
    EXPECT_TRUE(breaker.is_closed());
    breaker.settle(breaker.enter(now_), Outcome::failed, now_);
    EXPECT_FALSE(breaker.is_closed());
  }
}

TEST_F(Breaker, FillsThatFailEverySecondTimeOpenItToo) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(breaker_.is_closed());
    breaker_.filled();
    breaker_.fill_failed(now_);
  }
  EXPECT_FALSE(breaker_.is_closed());
}

TEST_F(Breaker, OneThatFailsEveryThirdTimeIsStillAsked) {
  for (int i = 0; i < 60; ++i) read(i % 3 == 0 ? Outcome::failed : Outcome::absent);
  EXPECT_TRUE(breaker_.is_closed());
}

TEST_F(Breaker, IsSteadyOnceItAnsweredAndNothingFailedLately) {
  EXPECT_FALSE(breaker_.is_steady()) << "nobody knows yet";
  read(Outcome::absent);
  EXPECT_TRUE(breaker_.is_steady());
  read(Outcome::failed);
  for (int i = 0; i < 5; ++i) read(Outcome::hit);
  EXPECT_FALSE(breaker_.is_steady()) << "one of the last six failed";
  read(Outcome::unknown);
  EXPECT_FALSE(breaker_.is_steady());
  read(Outcome::absent);
  EXPECT_TRUE(breaker_.is_steady());
  fail(3);
  EXPECT_FALSE(breaker_.is_steady());
}

TEST_F(Breaker, AReaderThatGivesUpHasSeenNothing) {
  fail(2);
  read(Outcome::unknown);
  fail(1);
  EXPECT_FALSE(breaker_.is_closed());
}

TEST_F(Breaker, OneProbeAfterARest) {
  fail(3);
  EXPECT_TRUE(rests_for(milliseconds(100)));
  EXPECT_EQ(breaker_.enter(now_), Permit::probe);
  EXPECT_EQ(breaker_.enter(now_), Permit::no) << "one at a time";
  EXPECT_FALSE(breaker_.is_closed());
  breaker_.settle(Permit::probe, Outcome::hit, now_);
  EXPECT_TRUE(breaker_.is_closed());
  fail(2);
  EXPECT_TRUE(breaker_.is_closed()) << "a hit closes it for good";
}

TEST_F(Breaker, AProbeThatIsGivenUpIsLeftToTheNext) {
  fail(3);
  now_ += milliseconds(100);
  EXPECT_EQ(read(Outcome::unknown), Permit::probe);
  EXPECT_EQ(read(Outcome::hit), Permit::probe);
}

TEST_F(Breaker, AfterAnAbsenceOneFailureIsEnough) {
  fail(3);
  now_ += milliseconds(100);
  EXPECT_EQ(read(Outcome::absent), Permit::probe);
  EXPECT_TRUE(breaker_.is_closed());
  breaker_.fill_failed(now_);
  EXPECT_FALSE(breaker_.is_closed());
}

TEST_F(Breaker, RestsGetLongerUntilSomethingIsFound) {
  fail(3);
  for (const int rest : {100, 200, 400, 800, 1600, 1600}) {
    ASSERT_TRUE(rests_for(milliseconds(rest))) << rest;
    ASSERT_EQ(read(Outcome::failed), Permit::probe) << rest;
  }
  now_ += milliseconds(1600);
  read(Outcome::hit);
  fail(3);
  EXPECT_TRUE(rests_for(milliseconds(100)));
  EXPECT_EQ(breaker_.enter(now_), Permit::probe);
}

TEST_F(Breaker, FillsThatFailOpenItToo) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(breaker_.is_closed());
    read(Outcome::absent);
    breaker_.fill_failed(now_);
  }
  EXPECT_FALSE(breaker_.is_closed());
}

TEST_F(Breaker, ATierThatIsFullButUsefulStaysClosed) {
  for (int i = 0; i < 20; ++i) {
    breaker_.fill_failed(now_);
    read(Outcome::hit);
  }
  EXPECT_TRUE(breaker_.is_closed());
}

TEST_F(Breaker, FillsThatSucceedDoNotExcuseReads) {
  for (int i = 0; i < 3; ++i) {
    read(Outcome::failed);
    breaker_.filled();
  }
  EXPECT_FALSE(breaker_.is_closed());
}

TEST_F(Breaker, WhatWasAskedBeforeItOpenedChangesNothing) {
  ASSERT_EQ(breaker_.enter(now_), Permit::go);
  ASSERT_EQ(breaker_.enter(now_), Permit::go);
  fail(3);
  breaker_.settle(Permit::go, Outcome::hit, now_);
  EXPECT_FALSE(breaker_.is_closed());
  now_ += milliseconds(50);
  breaker_.settle(Permit::go, Outcome::failed, now_);
  breaker_.fill_failed(now_);
  now_ += milliseconds(50);
  EXPECT_EQ(breaker_.enter(now_), Permit::probe) << "the rest is not prolonged";
}

TEST(BreakerOptions, NoFailuresMeansOne) {
  TierBreaker breaker(0, milliseconds(-5));
  const TierBreaker::Time now{};
  breaker.settle(breaker.enter(now), Outcome::failed, now);
  EXPECT_FALSE(breaker.is_closed());
  EXPECT_EQ(breaker.enter(now), Permit::probe);
}

}  // namespace
}  // namespace thaw
