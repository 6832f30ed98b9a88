#include "run/inherited_signals.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace thaw::run {
namespace {

constexpr std::array kOfOwnMaking = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};

sigset_t sent_by_others() {
  sigset_t set;
  ::sigfillset(&set);
  for (const int each : kOfOwnMaking) ::sigdelset(&set, each);
  return set;
}

}  // namespace

InheritedSignals inherited_signals() {
  InheritedSignals found{};
  ::sigprocmask(SIG_BLOCK, nullptr, &found.mask);
  ::sigemptyset(&found.ignored);
  for (int number = 1; number <= SIGRTMAX; ++number) {
    struct sigaction action {};
    if (::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN)
      ::sigaddset(&found.ignored, number);
  }
  return found;
}

void give_back_signals(const InheritedSignals& signals) {
  for (int number = 1; number <= SIGRTMAX; ++number) {
    struct sigaction action {};
    action.sa_handler = ::sigismember(&signals.ignored, number) == 1 ? SIG_IGN : SIG_DFL;
    // Refused for SIGKILL, SIGSTOP and what the C library keeps for itself.
    static_cast<void>(::sigaction(number, &action, nullptr));
  }
  ::sigprocmask(SIG_SETMASK, &signals.mask, nullptr);
}

Result<SignalInbox> SignalInbox::open() {
  const sigset_t set = sent_by_others();
  if (::sigprocmask(SIG_SETMASK, &set, nullptr) != 0) return errno_error(errno, "block signals");
  for (int number = 1; number <= SIGRTMAX; ++number) {
    if (::sigismember(&set, number) != 1) continue;
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    static_cast<void>(::sigaction(number, &action, nullptr));
  }
  UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return errno_error(errno, "signalfd");
  return SignalInbox(std::move(fd));
}

std::optional<signalfd_siginfo> SignalInbox::next() {
  signalfd_siginfo info{};
  ssize_t n = 0;
  do {
    n = ::read(fd_.get(), &info, sizeof info);
  } while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(sizeof info)) return std::nullopt;
  return info;
}

bool ends_by_default(int signal) {
  constexpr std::array kOthers = {SIGCHLD, SIGCONT, SIGURG,  SIGWINCH,
                                  SIGTSTP, SIGTTIN, SIGTTOU, SIGSTOP};
  return std::find(kOthers.begin(), kOthers.end(), signal) == kOthers.end();
}

}  // namespace thaw::run
