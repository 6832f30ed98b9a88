#include "snapshot/transfer.h"

#include <gtest/gtest.h>

#include <thread>

#include "support/result_check.h"

namespace thaw::test {
namespace {

using std::chrono::milliseconds;
using Clock = TransferGate::Clock;

// A link that gives `rate(requests at once)` bytes a second, in steps of one window each.
template <class Rate>
unsigned limit_after(TransferGate& gate, int windows, const Rate& rate) {
  const Context context;
  Clock::time_point now{milliseconds(1)};
  for (int i = 0; i < windows; ++i) {
    const unsigned limit = gate.limit();
    for (unsigned k = 0; k <= limit; ++k) {
      EXPECT_TRUE(is_ok(gate.enter(context)));
      now += std::chrono::duration_cast<Clock::duration>(
          std::chrono::duration<double>(1e6 / rate(limit)));
      gate.leave(1'000'000, false, now);
    }
  }
  return gate.limit();
}

TEST(TransferGateTest, GrowsWhileTheLinkGivesMore) {
  TransferGate gate(4, 32);
  EXPECT_EQ(limit_after(gate, 20, [](unsigned n) { return 40e6 * n; }), 32U);
}

TEST(TransferGateTest, StaysWhereTheLinkIsFull) {
  TransferGate gate(8, 32);
  const unsigned limit = limit_after(gate, 50, [](unsigned n) { return 40e6 * std::min(n, 4U); });
  // One step beyond what the first window showed, and no further.
  EXPECT_LE(limit, 12U);
  EXPECT_GE(limit, 4U);
}

TEST(TransferGateTest, HalvesWhenTheOtherSideIsOverloaded) {
  TransferGate gate(16, 32);
  const Context context;
  unsigned expected = 16;
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(is_ok(gate.enter(context)));
    gate.leave(0, true);
    expected = std::max(expected / 2, 1U);
    EXPECT_EQ(gate.limit(), expected);
  }
}

TEST(TransferGateTest, WaitsForAPlaceAndEndsWithItsContext) {
  TransferGate gate(1, 1);
  const Context root;
  ASSERT_TRUE(is_ok(gate.enter(root)));
  const Context brief = root.within(milliseconds(30));
  EXPECT_TRUE(fails_with(Code::timeout, gate.enter(brief)));
  std::thread other([&] { EXPECT_TRUE(is_ok(gate.enter(root))); });
  gate.leave(1, false);
  other.join();
}

}  // namespace
}  // namespace thaw::test
