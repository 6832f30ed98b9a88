#include "cli/signals.h"

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
std::atomic<int64_t> g_began_ms{0};

// The clock may be asked for in a handler.
int64_t now_ms() {
  struct timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// As as_json() would, but with nothing that a handler may not call.
void print_stopped() {
  constexpr std::string_view kHead = R"({"ok":false,"ms":)";
  constexpr std::string_view kTail =
      R"(,"reason":"cancelled","message":"ended at once on request"})"
      "\n";
  char text[kHead.size() + 20 + kTail.size()];
  char* end = std::copy(kHead.begin(), kHead.end(), text);
  end = std::to_chars(end, end + 20, std::max<int64_t>(now_ms() - g_began_ms, 0)).ptr;
  end = std::copy(kTail.begin(), kTail.end(), end);
  // Nothing can be done about a failure here.
  [[maybe_unused]] const ssize_t n = ::write(STDOUT_FILENO, text, static_cast<size_t>(end - text));
}

void on_signal(int number) {
  const int saved_errno = errno;
  g_stop.stop();
  if (number == SIGINT && g_interrupts.fetch_add(1) > 0) {
    if (g_json && claim_result()) print_stopped();
    ::_exit(130);
  }
  errno = saved_errno;
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
  for (const int number : {SIGPIPE, SIGIO}) std::signal(number, SIG_IGN);
  return g_stop;
}

void answer_stop_with(StopAnswer answer) { g_json = answer == StopAnswer::json; }

bool claim_result() { return !g_claimed.exchange(true); }

}  // namespace thaw::cli
