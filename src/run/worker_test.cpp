#include "run/worker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <thread>

#include "support/result_check.h"

namespace thaw::run {
namespace {

using test::is_ok;

// What it said until its end, and how it ended.
std::vector<Event> heard_of(Worker& worker, int& status) {
  std::vector<Event> events;
  EXPECT_EQ(::waitpid(worker.pid(), &status, 0), worker.pid());
  worker.is_reaped();
  for (Event& event : worker.reports()) events.push_back(std::move(event));
  return events;
}

Event next_of(Worker& worker) {
  while (true) {
    struct pollfd asked {};
    asked.fd = worker.fd();
    asked.events = POLLIN;
    EXPECT_EQ(::poll(&asked, 1, 60'000), 1);
    const auto events = worker.reports();
    if (!events.empty()) return events.front();
  }
}

TEST(Worker, TellsInOrder) {
  auto worker = Worker::start({}, [](const WorkerCalls& calls) {
    for (int number = 0; number < 3; ++number) calls.reporter.tell({{"n", number}});
  });
  ASSERT_TRUE(is_ok(worker));
  int status = 0;
  const auto events = heard_of(*worker, status);
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[2]["n"], 2);
  EXPECT_EQ(status, 0);
}

TEST(Worker, EndsWhenItIsAskedAndHurriesWhenItIsTold) {
  auto worker = Worker::start({}, [](const WorkerCalls& calls) {
    calls.reporter.tell({{"event", "up"}});
    while (!calls.hurry.stopped()) std::this_thread::yield();
    calls.reporter.tell({{"event", "hurried"}});
    while (calls.context.alive()) std::this_thread::yield();
    calls.reporter.tell({{"event", "stopped"}});
  });
  ASSERT_TRUE(is_ok(worker));
  EXPECT_EQ(next_of(*worker)["event"], "up");
  worker->hurry();
  EXPECT_EQ(next_of(*worker)["event"], "hurried");
  worker->ask_to_stop();
  EXPECT_EQ(next_of(*worker)["event"], "stopped");
  int status = 0;
  heard_of(*worker, status);
  EXPECT_EQ(status, 0);
}

TEST(Worker, HasItsPipeAlone) {
  std::array<int, 2> inherited{};
  ASSERT_EQ(::pipe(inherited.data()), 0);
  auto worker = Worker::start({WorkerOptions::Priority::low, false}, [](const WorkerCalls& calls) {
    Event open = Event::array();
    for (int fd = 0; fd < 256; ++fd) {
      if (::fcntl(fd, F_GETFD) >= 0) open.push_back(fd);
    }
    calls.reporter.tell({{"open", open},
                         {"group", ::getpgrp() == ::getpid()},
                         {"nice", ::getpriority(PRIO_PROCESS, 0)}});
  });
  ASSERT_TRUE(is_ok(worker));
  const Event event = next_of(*worker);
  EXPECT_EQ(event["open"], Event({0, 1, 2, 3}));
  EXPECT_EQ(event["group"], true);
  EXPECT_EQ(event["nice"], 19);
  int status = 0;
  heard_of(*worker, status);
  ::close(inherited[0]);
  ::close(inherited[1]);
}

TEST(Worker, IsKilledWhenItsOwnerIsGone) {
  pid_t pid = -1;
  {
    auto worker = Worker::start({}, [](const WorkerCalls&) {
      while (true) ::pause();
    });
    ASSERT_TRUE(is_ok(worker));
    pid = worker->pid();
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

}  // namespace
}  // namespace thaw::run
