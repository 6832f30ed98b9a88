#include "cli/signals.h"

#include <poll.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <string_view>

namespace thaw::cli {
namespace {

// Handlers reach nothing but globals; all of these are lock-free atomics.
StopFlag g_stop;
std::atomic<int> g_interrupts{0};
std::atomic<bool> g_json{false};
std::atomic<bool> g_claimed{false};
std::atomic<bool> g_told{false};
std::atomic<int64_t> g_began_ms{0};
std::atomic<int> g_exit_code{1};

// The clock may be asked for in a handler.
int64_t now_ms() {
  struct timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// Written without anything that a handler may not call.
class Line {
 public:
  Line& operator<<(std::string_view piece) {
    const auto room = static_cast<size_t>(text_ + sizeof text_ - end_);
    end_ = std::copy_n(piece.data(), std::min(piece.size(), room), end_);
    return *this;
  }
  Line& operator<<(int64_t number) {
    end_ = std::to_chars(end_, text_ + sizeof text_, number).ptr;
    return *this;
  }
  // Nothing can be done about a failure, and a full pipe is not waited for.
  void write_to(int fd) const {
    struct pollfd asked {};
    asked.fd = fd;
    asked.events = POLLOUT;
    if (::poll(&asked, 1, 0) != 1) return;
    [[maybe_unused]] const ssize_t n = ::write(fd, text_, static_cast<size_t>(end_ - text_));
  }

 private:
  char text_[256] = {};
  char* end_ = text_;
};

// As as_json() would, on standard output.
void print_ended(std::string_view reason, std::string_view message) {
  Line line;
  line << R"({"ok":false,"ms":)" << std::max<int64_t>(now_ms() - g_began_ms, 0) << R"(,"reason":")"
       << reason << R"(","message":")" << message << "\"}\n";
  line.write_to(STDOUT_FILENO);
}

void on_signal(int number) {
  const int saved_errno = errno;
  g_stop.stop();
  if (number == SIGINT && g_interrupts.fetch_add(1) > 0) {
    if (g_json && claim_result()) print_ended("cancelled", "ended at once on request");
    ::_exit(130);
  }
  errno = saved_errno;
}

void on_alarm(int /*number*/) {
  if (g_told) return;
  constexpr std::string_view kMessage =
      "the time limit passed, and something did not answer: ended at once";
  // A result that is being printed to nobody ends where it is.
  const bool untold = claim_result();
  if (g_json && untold) print_ended("timeout", kMessage);
  Line line;
  line << "thaw: " << kMessage << "\n";
  line.write_to(STDERR_FILENO);
  ::_exit(g_exit_code);
}

void handle(int number) {
  struct sigaction old {};
  if (::sigaction(number, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) return;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(number, &action, nullptr);
}

}  // namespace

const StopFlag& watch_signals() {
  g_began_ms = now_ms();
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) handle(number);
  for (const int number : {SIGPIPE, SIGIO, SIGXFSZ}) std::signal(number, SIG_IGN);
  return g_stop;
}

void answer_stop_with(StopAnswer answer) { g_json = answer == StopAnswer::json; }

void end_after(std::chrono::milliseconds time, int exit_code) {
  g_exit_code = exit_code;
  struct sigaction action {};
  action.sa_handler = on_alarm;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGALRM, &action, nullptr);
  struct itimerval timer {};
  timer.it_value.tv_sec = static_cast<time_t>(time.count() / 1000);
  timer.it_value.tv_usec = static_cast<suseconds_t>(time.count() % 1000 * 1000);
  ::setitimer(ITIMER_REAL, &timer, nullptr);
}

bool claim_result() { return !g_claimed.exchange(true); }

void result_is_told() { g_told = true; }

}  // namespace thaw::cli
