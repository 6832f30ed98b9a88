#include "run/job_control.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>

#include "base/fd.h"

namespace thaw::run {

bool sent_to_the_group(const signalfd_siginfo& info) {
  if (info.ssi_code != SI_KERNEL) return false;
  return !(info.ssi_signo == SIGHUP && ::getsid(0) == ::getpid());
}

void forward(const signalfd_siginfo& info, pid_t command) {
  const int number = static_cast<int>(info.ssi_signo);
  // It may have ended a moment ago.
  if (info.ssi_code == SI_QUEUE) {
    union sigval value {};
    value.sival_ptr = reinterpret_cast<void*>(info.ssi_ptr);  // NOLINT: what sigqueue(3) takes
    ::sigqueue(command, number, value);
  } else {
    ::kill(command, number);
  }
}

bool holds_terminal(pid_t command) {
  const auto terminal = open_path("/dev/tty", O_RDONLY | O_NOCTTY | O_NONBLOCK);
  if (!terminal) return false;
  const pid_t foreground = ::tcgetpgrp(terminal->get());
  return foreground == ::getpgrp() || foreground == ::getpgid(command);
}

void stop_as_by_default(int signal) {
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, signal);
  ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
  // The kernel keeps it from stopping a group that no shell could continue.
  ::kill(::getpid(), signal);
  ::sigprocmask(SIG_BLOCK, &only, nullptr);
}

}  // namespace thaw::run
