// Signals and stops between the terminal, the shell, this process and COMMAND, which share one
// process group.
#pragma once

#include <sys/signalfd.h>
#include <sys/types.h>

namespace thaw::run {

// Whether the kernel sent it to all of our process group, as for a key of the terminal: then
// COMMAND has it already. SIGHUP for a terminal that is gone is for the leader of a session alone.
bool sent_to_the_group(const signalfd_siginfo& info);

// Sends the same signal to `command`, with its value where it has one.
void forward(const signalfd_siginfo& info, pid_t command);

// Whether our process group is in the foreground of a terminal.
bool holds_terminal(pid_t command);

// Stops this process as if it had never blocked or handled `signal`; returns once it goes on. For a
// process of one thread.
void stop_as_by_default(int signal);

}  // namespace thaw::run
