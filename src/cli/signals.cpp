#include "cli/signals.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <string_view>

namespace thaw::cli {
namespace {

// Handlers reach nothing but globals; all of these are lock-free atomics.
StopFlag g_stop;
std::atomic<int> g_interrupts{0};
std::atomic<bool> g_json{false};
std::atomic<bool> g_claimed{false};

void on_signal(int number) {
  const int saved_errno = errno;
  g_stop.stop();
  if (number == SIGINT && g_interrupts.fetch_add(1) > 0) {
    if (g_json && claim_result()) {
      constexpr std::string_view kResult =
          "{\"ok\":false,\"reason\":\"cancelled\",\"message\":\"ended at once on request\"}\n";
      // Nothing can be done about a failure here.
      [[maybe_unused]] const ssize_t n = ::write(STDOUT_FILENO, kResult.data(), kResult.size());
    }
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
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) handle(number);
  for (const int number : {SIGPIPE, SIGIO}) std::signal(number, SIG_IGN);
  return g_stop;
}

void answer_stop_with(StopAnswer answer) { g_json = answer == StopAnswer::json; }

bool claim_result() { return !g_claimed.exchange(true); }

}  // namespace thaw::cli
