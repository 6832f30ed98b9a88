// COMMAND: the process that all of this is for.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "run/inherited_signals.h"

namespace thaw::run {

struct CommandLaunch {
  std::vector<std::string> words;        // at least one; the first is looked for in PATH
  std::vector<std::string> environment;  // "NAME=VALUE"
  InheritedSignals signals;
  // Its descriptor `number` is a copy of `fd`: where it says that it is ready.
  struct Passed {
    int fd;
    int number;
  };
  std::optional<Passed> passed{};
};

// Starts COMMAND in our process group, session and terminal, with every descriptor of ours that is
// not close-on-exec, and our signals as they were. It gets SIGKILL when this process dies. Returns
// once it runs, or cannot: Code::not_found where there is no such file. For a process of one
// thread.
Result<pid_t> launch(const CommandLaunch& what);
// As a shell's: 127 where there is no such file, else 126.
int exit_code_of_failed_launch(const Error& error);

// Closes what COMMAND inherited of us, so that who waits for the end of a pipe waits for COMMAND
// alone: standard input and output become /dev/null, standard error too unless it is `kept`.
enum class StandardError { kept, given_up };
void give_up_inherited_descriptors(StandardError standard_error);

// How it ended.
struct Ended {
  int code = 0;    // what a shell would say: 128 + the signal that ended it
  int signal = 0;  // 0: none
};
Ended ended_of_status(int wait_status);

}  // namespace thaw::run
