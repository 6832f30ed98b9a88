// Signals at the border of a process: what it was started with, and how it takes them in.
#pragma once

#include <sys/signalfd.h>

#include <csignal>
#include <optional>

#include "base/fd.h"
#include "base/result.h"

namespace thaw::run {

// What a process inherits of its parent: all else is default after exec(2).
struct InheritedSignals {
  sigset_t mask;
  sigset_t ignored;
};

// As they are now: to be asked before anything changes them.
InheritedSignals inherited_signals();
// Makes them as they were, for a program that is about to be executed. For a process of one thread.
void give_back_signals(const InheritedSignals& signals);

// All signals that others send to this process, as values in place of handlers. Those that report a
// fault of its own (SIGSEGV and its like) keep their action. For a process of one thread, once.
class SignalInbox {
 public:
  // Blocks them, and gives all of them their default action, so that none is thrown away.
  static Result<SignalInbox> open();

  int fd() const { return fd_.get(); }
  // The next one that has come; empty when there is none for now. Never blocks.
  std::optional<signalfd_siginfo> next();

 private:
  explicit SignalInbox(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// Whether its default action ends a process.
bool ends_by_default(int signal);

}  // namespace thaw::run
