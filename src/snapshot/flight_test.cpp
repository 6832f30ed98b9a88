#include "snapshot/flight.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

#include "support/result_check.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;

Error broken() { return {Code::unavailable, "broken"}; }

// One leader in its work, and `waiters` threads that ask for the same.
class FlightsTest : public ::testing::Test {
 protected:
  // Until the leader is inside.
  void lead(Result<int> outcome) {
    leader_ = std::thread([this, outcome] {
      const auto answer = flights_.run(context_, "a", [&]() -> Result<int> {
        inside_.count_down();
        while (!go_.load()) std::this_thread::yield();
        return outcome;
      });
      EXPECT_EQ(answer.ok(), outcome.ok());
    });
    inside_.wait();
  }
  void let_go() {
    go_ = true;
    leader_.join();
  }

  const Context context_;
  Flights<std::string, int> flights_;
  std::latch inside_{1};
  std::atomic<bool> go_{false};
  std::thread leader_;
};

TEST_F(FlightsTest, AWaiterKeepsItsOwnDeadline) {
  lead(7);
  const Context brief = context_.within(std::chrono::milliseconds(10));
  EXPECT_TRUE(fails_with(Code::timeout, flights_.run(brief, "a", [] { return Result<int>(1); })));
  StopFlag stop;
  stop.stop();
  const Context stopped = context_.with(stop);
  EXPECT_TRUE(
      fails_with(Code::cancelled, flights_.run(stopped, "a", [] { return Result<int>(1); })));
  // Another name is nobody's business.
  EXPECT_EQ(*flights_.run(context_, "b", [] { return Result<int>(2); }), 2);
  let_go();
}

TEST_F(FlightsTest, OneOfThoseWhoWaitTakesOver) {
  lead(broken());
  std::atomic<int> works{0};
  std::latch begun(4);
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] {
      begun.count_down();
      const auto answer = flights_.run(context_, "a", [&] {
        ++works;
        return Result<int>(5);
      });
      EXPECT_TRUE(is_ok(answer));
    });
  }
  begun.wait();
  let_go();
  for (auto& waiter : waiters) waiter.join();
  EXPECT_GE(works.load(), 1);
}

TEST_F(FlightsTest, NothingIsKeptOfAFailure) {
  EXPECT_TRUE(fails_with(Code::unavailable,
                         flights_.run(context_, "a", [] { return Result<int>(broken()); })));
  EXPECT_EQ(*flights_.run(context_, "a", [] { return Result<int>(3); }), 3);
}

TEST(LeaderFailures, TheSecondFailureIsAnAnswerUnlessItWasTheLeadersOwn) {
  LeaderFailures failures;
  const Error own[] = {Error(Code::cancelled, "stopped"), Error(Code::timeout, "late")};
  EXPECT_FALSE(failures.add(own[0]));
  EXPECT_FALSE(failures.add(broken()));
  EXPECT_FALSE(failures.add(own[1]));
  EXPECT_TRUE(failures.add(broken()));
}

}  // namespace
}  // namespace thaw
