#include "base/context.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>

namespace thaw {
namespace {

using std::chrono::milliseconds;

Code code_of(const Context& context) {
  const auto alive = context.alive();
  return alive ? Code::internal : alive.error().code();  // internal: alive
}

template <class T>
concept MakesChildren = requires(T context, StopFlag flag) {
  std::forward<T>(context).within(milliseconds(1));
  std::forward<T>(context).with(flag);
};
static_assert(MakesChildren<const Context&>);
static_assert(!MakesChildren<Context> && !MakesChildren<const Context>,
              "a child of a temporary would dangle");

TEST(Context, LivesForEverByDefault) {
  const Context context;
  EXPECT_TRUE(context.alive());
  EXPECT_FALSE(context.remaining());
  EXPECT_FALSE(context.deadline());
}

TEST(Context, EndsAtItsDeadline) {
  const Context root;
  const Context past = root.within(milliseconds(0));
  EXPECT_EQ(code_of(past), Code::timeout);
  EXPECT_EQ(past.remaining(), milliseconds(0));
  EXPECT_EQ(code_of(root.within(milliseconds(-5))), Code::timeout);
  EXPECT_EQ(root.within(milliseconds(-5)).remaining(), milliseconds(0));

  const Context minute = root.within(milliseconds(60'000));
  EXPECT_TRUE(minute.alive());
  EXPECT_LE(*minute.remaining(), milliseconds(60'000));
  EXPECT_GT(*minute.remaining(), milliseconds(30'000));
}

TEST(Context, AChildNeverOutlivesItsParentsDeadline) {
  const Context root;
  const Context minute = root.within(milliseconds(60'000));
  const Context hour = minute.within(milliseconds(3'600'000));
  EXPECT_EQ(hour.deadline(), minute.deadline());
  const Context second = minute.within(milliseconds(1'000));
  EXPECT_LT(*second.deadline(), *minute.deadline());
}

TEST(Context, ATimeTooLongForTheClockNeverPasses) {
  const Context root;
  EXPECT_TRUE(root.within(milliseconds::max()).alive());
  EXPECT_EQ(code_of(root.within(milliseconds::min())), Code::timeout);
}

TEST(Context, AFlagStopsAllBelowIt) {
  StopFlag outer;
  StopFlag inner;
  const Context root(outer);
  const Context child = root.with(inner);
  const Context grandchild = child.within(milliseconds(60'000));
  EXPECT_TRUE(grandchild.alive());
  inner.stop();
  EXPECT_TRUE(root.alive());
  EXPECT_EQ(code_of(child), Code::cancelled);
  EXPECT_EQ(code_of(grandchild), Code::cancelled);
  outer.stop();
  EXPECT_EQ(code_of(root), Code::cancelled);
  EXPECT_TRUE(outer.stopped());
}

TEST(Context, StoppedIsSaidBeforeLate) {
  StopFlag flag;
  flag.stop();
  const Context root(flag);
  EXPECT_EQ(code_of(root.within(milliseconds(0))), Code::cancelled);
}

TEST(Context, IsStoppedFromAnotherThread) {
  StopFlag flag;
  const Context context(flag);
  std::thread stopper([&] { flag.stop(); });
  while (context.alive()) std::this_thread::yield();
  stopper.join();
  EXPECT_EQ(code_of(context), Code::cancelled);
}

}  // namespace
}  // namespace thaw
