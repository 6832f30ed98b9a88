#include "object/block_flights.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "support/result_check.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;
using Landing = BlockFlights::Landing;

class Flights : public ::testing::Test {
 protected:
  BlockFlights::Seat join(const std::string& block = "b") {
    return flights_.join(block, flights_.landed(block));
  }
  static Landing block(const std::string& text) {
    return {Landing::How::block, FetchedBlock{Buffer(text), {text.size(), "", {}}}, std::nullopt};
  }

  BlockFlights flights_;
  const Context context_;
};

TEST_F(Flights, TheFirstLeadsAndTheOthersGetWhatItLands) {
  BlockFlights::Seat leader = join();
  ASSERT_TRUE(leader.leads());
  std::atomic<int> got{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, seat = join()]() mutable {
      ASSERT_TRUE(seat.waits());
      const auto landing = seat.wait(context_);
      ASSERT_TRUE(is_ok(landing));
      ASSERT_EQ(landing->how, Landing::How::block);
      if (as_text(landing->block->bytes.view()) == "data") ++got;
    });
  }
  leader.land(block("data"));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(got, 8);
  EXPECT_FALSE(leader.leads());
}

TEST_F(Flights, OtherBlocksFlyByThemselves) {
  const BlockFlights::Seat first = join("a");
  const BlockFlights::Seat second = join("b");
  EXPECT_TRUE(first.leads());
  EXPECT_TRUE(second.leads());
}

TEST_F(Flights, WhoSawAnOlderLandingLooksAgain) {
  const uint64_t seen = flights_.landed("b");
  join().land(block("data"));
  const BlockFlights::Seat seat = flights_.join("b", seen);
  EXPECT_FALSE(seat.leads());
  EXPECT_FALSE(seat.waits());
  EXPECT_TRUE(join().leads());
}

TEST_F(Flights, ALeaderThatGoesAwayLetsAnotherLookAgain) {
  std::optional<BlockFlights::Seat> leader = join();
  BlockFlights::Seat waiter = join();
  leader.reset();
  const auto landing = waiter.wait(context_);
  ASSERT_TRUE(is_ok(landing));
  EXPECT_EQ(landing->how, Landing::How::look_again);
  EXPECT_TRUE(join().leads());
}

TEST_F(Flights, ErrorsReachThoseWhoWaitAndNobodyElse) {
  BlockFlights::Seat leader = join();
  BlockFlights::Seat waiter = join();
  leader.land({Landing::How::final, std::nullopt, Error(Code::denied, "no")});
  const auto landing = waiter.wait(context_);
  ASSERT_TRUE(is_ok(landing));
  EXPECT_EQ(landing->how, Landing::How::final);
  EXPECT_EQ(landing->error->code(), Code::denied);
  EXPECT_TRUE(join().leads()) << "the next reader asks the store itself";
}

TEST_F(Flights, EachWaitsUnderItsOwnContext) {
  const BlockFlights::Seat leader = join();
  BlockFlights::Seat late = join();
  BlockFlights::Seat stopped = join();
  const Context soon = context_.within(std::chrono::milliseconds(5));
  EXPECT_TRUE(fails_with(Code::timeout, late.wait(soon)));
  StopFlag flag;
  std::thread stopper([&] { flag.stop(); });
  EXPECT_TRUE(fails_with(Code::cancelled, stopped.wait(Context(flag))));
  stopper.join();
  EXPECT_TRUE(join().waits()) << "the flight goes on";
}

TEST_F(Flights, ASeatMayMove) {
  BlockFlights::Seat seat = join();
  BlockFlights::Seat moved = std::move(seat);
  EXPECT_TRUE(moved.leads());
  seat = join("other");
  std::swap(seat, moved);
  seat.land({});
  EXPECT_TRUE(join().leads());
  EXPECT_TRUE(join("other").waits());
}

}  // namespace
}  // namespace thaw
