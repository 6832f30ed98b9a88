#include "run/command.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <memory>

#include "run/command_environment.h"

namespace thaw::run {
namespace {

constexpr int kNotFound = 127;
constexpr int kNotExecutable = 126;

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

// In the child, which has one thread and all of its memory. Answers what went wrong.
int become(CommandLaunch what, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kNotExecutable);  // it died before that was set
  if (what.passed && what.passed->fd == what.passed->number) {
    ::fcntl(what.passed->fd, F_SETFD, 0);
  } else if (what.passed && ::dup2(what.passed->fd, what.passed->number) < 0) {
    return errno;
  }
  readdress(what.environment, parent, ::getpid());
  const auto words = pointers_to(what.words);
  const auto environment = pointers_to(what.environment);
  give_back_signals(what.signals);
  ::execvpe(words[0], words.data(), environment.data());
  return errno;
}

// The child's end is above what COMMAND's own descriptors are, so that none of them takes its
// place.
Result<UniqueFd> out_of_the_way(UniqueFd fd, int above) {
  UniqueFd moved(::fcntl(fd.get(), F_DUPFD_CLOEXEC, above + 1));
  if (!moved.valid()) return errno_error(errno, "move a descriptor");
  return moved;
}

bool is_close_on_exec(int fd) {
  const int flags = ::fcntl(fd, F_GETFD);
  return flags < 0 || (flags & FD_CLOEXEC) != 0;
}

}  // namespace

Result<pid_t> launch(const CommandLaunch& what) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  const UniqueFd told(ends[0]);
  UniqueFd telling(ends[1]);
  if (what.passed) {
    THAW_ASSIGN(telling, out_of_the_way(std::move(telling), what.passed->number));
  }
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return errno_error(errno, "fork");
  if (child == 0) {
    const int fault = become(what, parent);
    [[maybe_unused]] const ssize_t n = ::write(telling.get(), &fault, sizeof fault);
    ::_exit(kNotExecutable);
  }
  telling.reset();
  int fault = 0;
  ssize_t n = 0;
  do {
    n = ::read(told.get(), &fault, sizeof fault);
  } while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(sizeof fault)) return child;  // it was closed by exec(2)
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  return errno_error(fault, "start " + what.words.front());
}

int exit_code_of_failed_launch(const Error& error) {
  return error.code() == Code::not_found ? kNotFound : kNotExecutable;
}

void give_up_inherited_descriptors(StandardError standard_error) {
  auto nothing = open_path("/dev/null", O_RDWR);
  if (!nothing) return;
  const int last = standard_error == StandardError::kept ? 1 : 2;
  // dup3(2) keeps them from COMMAND's successors; there are none.
  for (int fd = 0; fd <= last; ++fd) ::dup3(nothing->get(), fd, O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), &::closedir);
  if (!folder) return;
  std::vector<int> inherited;
  while (const dirent* entry = ::readdir(folder.get())) {
    int fd = -1;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, fd).ptr != end) continue;
    if (fd > 2 && !is_close_on_exec(fd)) inherited.push_back(fd);
  }
  for (const int fd : inherited) ::close(fd);
}

Ended ended_of_status(int wait_status) {
  if (WIFSIGNALED(wait_status)) return {128 + WTERMSIG(wait_status), WTERMSIG(wait_status)};
  return {WEXITSTATUS(wait_status), 0};
}

}  // namespace thaw::run
