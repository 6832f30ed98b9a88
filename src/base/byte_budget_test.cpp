#include "base/byte_budget.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace thaw {
namespace {

using std::chrono::milliseconds;

// Whether so many bytes are to be had without waiting.
bool has_room(ByteBudget& budget, uint64_t bytes) {
  const Context root;
  return budget.reserve(root.within(milliseconds(0)), bytes).ok();
}

TEST(ByteBudget, BoundsWhatIsHeld) {
  ByteBudget budget(100);
  const Context context;
  auto first = budget.reserve(context, 60);
  ASSERT_TRUE(first);
  EXPECT_FALSE(has_room(budget, 41));
  EXPECT_TRUE(has_room(budget, 40));
  EXPECT_FALSE(has_room(budget, UINT64_MAX)) << "no sum wraps round";
  EXPECT_FALSE(has_room(budget, UINT64_MAX - 59));
  { const auto moved = *std::move(first); }
  EXPECT_TRUE(has_room(budget, 100));
}

TEST(ByteBudget, AnOversizeReservationIsServedAlone) {
  ByteBudget budget(100);
  const Context context;
  auto oversize = budget.reserve(context, 1000);
  ASSERT_TRUE(oversize);
  EXPECT_FALSE(has_room(budget, 1));
  *oversize = ByteBudget::Reservation();
  auto small = budget.reserve(context, 1);
  ASSERT_TRUE(small);
  EXPECT_FALSE(has_room(budget, 1000));
}

TEST(ByteBudget, WaitsNoLongerThanItsContext) {
  ByteBudget budget(10);
  const Context context;
  const auto all = budget.reserve(context, 10);
  const auto late = budget.reserve(context.within(milliseconds(5)), 1);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), Code::timeout);

  StopFlag flag;
  std::thread stopper([&] { flag.stop(); });
  const auto stopped = budget.reserve(Context(flag), 1);
  stopper.join();
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), Code::cancelled);
}

TEST(ByteBudget, ManyThreadsNeverHoldMoreThanTheLimit) {
  constexpr uint64_t kLimit = 50;
  ByteBudget budget(kLimit);
  const Context context;
  std::atomic<uint64_t> held{0};
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      for (uint64_t round = 0; round < 200; ++round) {
        const uint64_t bytes = 1 + (round * 7 + i * 13) % kLimit;
        const auto reservation = budget.reserve(context, bytes);
        ASSERT_TRUE(reservation);
        EXPECT_LE(held.fetch_add(bytes) + bytes, kLimit);
        held.fetch_sub(bytes);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(has_room(budget, kLimit));
}

}  // namespace
}  // namespace thaw
