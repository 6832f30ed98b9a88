#include "golden/child.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "base/fd.h"

namespace thaw::golden {
namespace {

constexpr std::chrono::milliseconds kBetweenLooks{10};
// From SIGTERM to SIGKILL: a command's time limit leaves half a second for all of its end.
constexpr std::chrono::milliseconds kGrace{200};

// In the child, between fork and exec: calls that are safe there alone. Answers an errno.
int become(char* const* words, char* const* variables, const char* folder, pid_t parent) {
  if (::prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) return errno;
  // It may have gone before that.
  if (::getppid() != parent) ::_exit(1);
  for (int number = 1; number < NSIG; ++number) {
    // Those that have no handler to be reset answer an error.
    ::signal(number, SIG_DFL);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return errno;
  if (::chdir(folder) != 0) return errno;
  ::execvpe(words[0], words, variables);
  return errno;
}

// Empty while it runs.
std::optional<int> exit_code_of(pid_t child) {
  int status = 0;
  const pid_t ended = ::waitpid(child, &status, WNOHANG);
  if (ended == 0 || (ended < 0 && errno == EINTR)) return std::nullopt;
  if (ended < 0) return 1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void end(pid_t child) {
  ::kill(child, SIGTERM);
  const auto patience = std::chrono::steady_clock::now() + kGrace;
  while (std::chrono::steady_clock::now() < patience) {
    if (exit_code_of(child)) return;
    std::this_thread::sleep_for(kBetweenLooks);
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

// "12 (name) S 1 …": the number behind the state.
pid_t parent_of(const char* pid) {
  const auto bytes = read_file(std::string("/proc/") + pid + "/stat", 64 * 1024);
  if (!bytes) return 0;
  const std::string text(as_text(bytes->view()));
  const size_t name_ends = text.rfind(") ");
  if (name_ends == std::string::npos || name_ends + 4 > text.size()) return 0;
  return static_cast<pid_t>(std::strtol(text.c_str() + name_ends + 4, nullptr, 10));
}

// While this lives, processes whose parents end become our children. Its end ends them: each that
// goes makes its own children ours, until there are none.
class Family {
 public:
  Family() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }
  Family(const Family&) = delete;
  Family& operator=(const Family&) = delete;
  ~Family() {
    while (end_children()) {
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  }

 private:
  static bool end_children() {
    const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), &::closedir);
    if (!processes) return false;
    bool any = false;
    while (const dirent* entry = ::readdir(processes.get())) {
      const auto pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
      if (pid <= 0 || parent_of(entry->d_name) != ::getpid()) continue;
      ::kill(pid, SIGKILL);
      any = ::waitpid(pid, nullptr, 0) == pid || any;
    }
    return any;
  }
};

}  // namespace

Result<int> run_child(const Context& context, const std::vector<std::string>& words,
                      const std::string& folder, const std::string& variable) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> variables;
  const std::string name = variable.substr(0, variable.find('=') + 1);
  for (char** each = environ; *each != nullptr; ++each) {
    if (!std::string_view(*each).starts_with(name)) variables.push_back(*each);
  }
  variables.push_back(const_cast<char*>(variable.c_str()));
  variables.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  const UniqueFd fault(ends[0]);
  UniqueFd fault_in_child(ends[1]);
  const pid_t parent = ::getpid();
  const Family family;
  const pid_t child = ::fork();
  if (child < 0) return errno_error(errno, "run " + words.front());
  if (child == 0) {
    const int error = become(arguments.data(), variables.data(), folder.c_str(), parent);
    [[maybe_unused]] const ssize_t told = ::write(fault_in_child.get(), &error, sizeof error);
    ::_exit(127);
  }
  fault_in_child.reset();
  int error = 0;
  ssize_t n = 0;
  do {
    n = ::read(fault.get(), &error, sizeof error);
  } while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof error)) {
    ::waitpid(child, nullptr, 0);
    return errno_error(error, "run " + words.front());
  }
  while (true) {
    if (const auto code = exit_code_of(child)) return *code;
    auto alive = context.alive();
    if (!alive) {
      end(child);
      return std::move(alive).error();
    }
    std::this_thread::sleep_for(kBetweenLooks);
  }
}

}  // namespace thaw::golden
