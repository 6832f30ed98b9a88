#include "base/task_group.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <latch>
#include <memory>
#include <set>

namespace thaw {
namespace {

Error failure(const char* why) { return {Code::corrupt, why}; }

// Busy until the context ends: what a long task looks like.
Result<> until_stopped(const Context& context) {
  while (true) {
    THAW_CHECK(context.alive());
    std::this_thread::yield();
  }
}

TEST(TaskGroup, RunsEverything) {
  const Context context;
  std::atomic<int> done{0};
  TaskGroup group(context, 3, 2);
  for (int i = 0; i < 500; ++i) {
    group.submit([&](const Context&) -> Result<> {
      done.fetch_add(1);
      return {};
    });
  }
  EXPECT_TRUE(group.wait());
  EXPECT_EQ(done.load(), 500);
  EXPECT_FALSE(group.failure());
}

TEST(TaskGroup, IsDoneWhenThereIsNothingToDo) {
  const Context context;
  EXPECT_TRUE(TaskGroup(context, 4, 4).wait());
  EXPECT_TRUE(TaskGroup(context, 0, 0).wait()) << "at least one thread, and room for one task";
}

TEST(TaskGroup, TheQueueIsBounded) {
  constexpr size_t kLimit = 4;
  const Context context;
  std::latch gate(1);
  std::atomic<size_t> submitted{0};
  std::atomic<bool> blocked_seen{false};
  TaskGroup group(context, 1, kLimit);
  std::latch begun(1);
  group.submit([&](const Context&) -> Result<> {
    begun.count_down();
    gate.wait();
    blocked_seen.store(submitted.load() <= kLimit);
    return {};
  });
  begun.wait();  // so the queue is empty, and nobody takes from it
  std::thread opener([&] {
    // The queue is full, so that the owner blocks at the next; then it may go on.
    while (submitted.load() < kLimit) std::this_thread::yield();
    gate.count_down();
  });
  for (size_t i = 0; i < kLimit * 3; ++i) {
    group.submit([](const Context&) -> Result<> { return {}; });
    submitted.fetch_add(1);
  }
  EXPECT_TRUE(group.wait());
  opener.join();
  EXPECT_TRUE(blocked_seen.load());
}

TEST(TaskGroup, TheFirstErrorWinsAndStopsTheOthers) {
  const Context context;
  std::latch running(2);
  TaskGroup group(context, 3, 8);
  for (int i = 0; i < 2; ++i) {
    group.submit([&](const Context& inner) {
      running.count_down();
      return until_stopped(inner);  // ends with its own error, the later one
    });
  }
  group.submit([&](const Context&) -> Result<> {
    running.wait();
    return failure("first");
  });
  const auto result = group.wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().text(), "first");
  EXPECT_FALSE(group.context().alive());
  EXPECT_TRUE(context.alive()) << "the parent goes on";
  ASSERT_TRUE(group.failure());
  EXPECT_EQ(group.failure()->text(), "first");
}

TEST(TaskGroup, AfterAnErrorNothingNewBegins) {
  const Context context;
  std::atomic<int> begun{0};
  TaskGroup group(context, 1, 100);
  std::latch queued(1);
  group.submit([&](const Context&) -> Result<> {
    queued.wait();
    return failure("stop");
  });
  for (int i = 0; i < 50; ++i) {
    group.submit([&](const Context&) -> Result<> {
      begun.fetch_add(1);
      return {};
    });
  }
  queued.count_down();
  while (group.context().alive()) std::this_thread::yield();
  group.submit([&](const Context&) -> Result<> {  // neither blocks nor runs
    begun.fetch_add(1);
    return {};
  });
  EXPECT_FALSE(group.wait());
  EXPECT_EQ(begun.load(), 0);
}

TEST(TaskGroup, AnErrorFreesAnOwnerThatWaitsForRoom) {
  const Context context;
  TaskGroup group(context, 1, 1);
  for (int i = 0; i < 100; ++i) {
    group.submit([](const Context&) -> Result<> { return failure("at once"); });
  }
  EXPECT_FALSE(group.wait());
}

TEST(TaskGroup, EndsWithItsParent) {
  StopFlag flag;
  const Context parent(flag);
  std::latch running(1);
  TaskGroup group(parent, 2, 4);
  group.submit([&](const Context& inner) {
    running.count_down();
    return until_stopped(inner);
  });
  running.wait();
  flag.stop();
  const auto result = group.wait();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::cancelled);
}

TEST(TaskGroup, ItsEndStopsWhatRunsAndDropsWhatWaits) {
  const Context context;
  std::atomic<bool> ran{false};
  const auto held = std::make_shared<int>(1);
  {
    std::latch running(1);
    TaskGroup group(context, 1, 4);
    group.submit([&](const Context& inner) {
      running.count_down();
      return until_stopped(inner);
    });
    group.submit([&ran, held](const Context&) -> Result<> {
      ran.store(true);
      return {};
    });
    running.wait();
  }
  EXPECT_FALSE(ran.load());
  EXPECT_EQ(held.use_count(), 1) << "what a dropped task holds is given back";
}

TEST(ParallelFor, VisitsEveryIndexOnce) {
  const Context context;
  for (const unsigned threads : {0U, 1U, 2U, 7U}) {
    std::vector<std::atomic<int>> visits(100);
    std::atomic<unsigned> most_worker{0};
    const auto done = parallel_for(context, threads, visits.size(),
                                   [&](const Context&, unsigned worker, size_t i) -> Result<> {
                                     visits[i].fetch_add(1);
                                     if (worker > most_worker.load()) most_worker.store(worker);
                                     return {};
                                   });
    EXPECT_TRUE(done);
    for (const auto& each : visits) EXPECT_EQ(each.load(), 1);
    EXPECT_LT(most_worker.load(), std::max(threads, 1U));
  }
}

TEST(ParallelFor, OneWorkersScratchIsOneThreads) {
  const Context context;
  constexpr unsigned kThreads = 4;
  std::vector<std::set<std::thread::id>> users(kThreads);  // unguarded: tsan would tell
  const auto done = parallel_for(context, kThreads, 200,
                                 [&](const Context&, unsigned worker, size_t) -> Result<> {
                                   users[worker].insert(std::this_thread::get_id());
                                   return {};
                                 });
  EXPECT_TRUE(done);
}

TEST(ParallelFor, WithoutWorkDoesNothing) {
  const Context context;
  EXPECT_TRUE(parallel_for(context, 4, 0, [](const Context&, unsigned, size_t) -> Result<> {
    return failure("never called");
  }));
}

TEST(ParallelFor, StopsAtTheFirstError) {
  const Context context;
  for (const unsigned threads : {1U, 4U}) {
    std::atomic<size_t> begun{0};
    const auto done = parallel_for(context, threads, 100'000,
                                   [&](const Context&, unsigned, size_t i) -> Result<> {
                                     begun.fetch_add(1);
                                     if (i == 3) return failure("the fourth");
                                     return {};
                                   });
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().text(), "the fourth");
    EXPECT_LE(begun.load(), 100'000U);
    EXPECT_TRUE(threads > 1 || begun.load() == 4);
  }
}

TEST(ParallelFor, BeginsNothingOnceStopped) {
  StopFlag flag;
  flag.stop();
  const Context context(flag);
  for (const unsigned threads : {1U, 4U}) {
    std::atomic<int> begun{0};
    const auto done =
        parallel_for(context, threads, 10, [&](const Context&, unsigned, size_t) -> Result<> {
          begun.fetch_add(1);
          return {};
        });
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), Code::cancelled);
    EXPECT_EQ(begun.load(), 0);
  }
}

TEST(UsableCores, AreSome) { EXPECT_GE(usable_cores(), 1U); }

// In a child process, which may have few more bytes than it has: stacks for one thread, or for
// none.
int tasks_done_within(uint64_t more_bytes) {
  struct rlimit limit {};
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0;
  statm >> pages;
  limit.rlim_cur = limit.rlim_max = pages * 4096 + more_bytes;
  if (::setrlimit(RLIMIT_AS, &limit) != 0) return -1;
  std::atomic<int> done{0};
  const auto ended =
      parallel_for(Context(), 16, 100, [&](const Context&, unsigned, size_t) -> Result<> {
        ++done;
        return {};
      });
  return ended ? done.load() : -1;
}

TEST(ParallelForDeathTest, DoesAllWithAsFewThreadsAsThereAre) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers need the address space";
#else
  for (const uint64_t more : {uint64_t{1} << 20, uint64_t{12} << 20}) {
    EXPECT_EXIT(::_exit(tasks_done_within(more) == 100 ? 0 : 1), ::testing::ExitedWithCode(0), "");
  }
#endif
}

}  // namespace
}  // namespace thaw
