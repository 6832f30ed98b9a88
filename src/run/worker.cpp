#include "run/worker.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/log.h"
#include "base/log_sink.h"

namespace thaw::run {
namespace {

// A worker has one of each, reached by its handlers; its parent never sets them.
StopFlag g_stop;
StopFlag g_hurry;

void on_stop(int /*signal*/) { g_stop.stop(); }
void on_hurry(int /*signal*/) { g_hurry.stop(); }

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  static_cast<void>(::sigaction(signal, &action, nullptr));
}

// SIGHUP and the terminal's keys are COMMAND's; a worker hears of them from its parent.
void set_up_signals() {
  for (const int each : {SIGINT, SIGQUIT, SIGHUP, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE, SIGIO,
                         SIGXFSZ, SIGUSR2, SIGALRM}) {
    handle(each, SIG_IGN);
  }
  handle(SIGTERM, on_stop);
  handle(SIGUSR1, on_hurry);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// What it inherits it must not hold open: somebody may wait for the end of a pipe.
int keep_only(int pipe, bool standard_error) {
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing >= 0) {
    for (int fd = 0; fd <= (standard_error ? 1 : 2); ++fd) ::dup2(nothing, fd);
  }
  constexpr int kPlace = 3;
  if (pipe != kPlace) ::dup2(pipe, kPlace);
  ::fcntl(kPlace, F_SETFD, FD_CLOEXEC);
  if (::syscall(SYS_close_range, kPlace + 1, ~0U, 0) != 0) {  // before Linux 5.9
    struct rlimit most {};
    ::getrlimit(RLIMIT_NOFILE, &most);
    for (rlim_t fd = kPlace + 1; fd < most.rlim_cur && fd < 65536; ++fd)
      ::close(static_cast<int>(fd));
  }
  return kPlace;
}

void write_number(const char* path, std::string_view number) {
  auto fd = open_path(path, O_WRONLY);
  if (fd) static_cast<void>(write_all(fd->get(), as_bytes(number), path).ok());
}

[[noreturn]] void work(const WorkerOptions& options, const WorkerBody& body, int pipe,
                       pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // it died before that was set
  ::prctl(PR_SET_NAME, "thaw-worker");
  ::setpgid(0, 0);
  set_up_signals();
  log::send_to({});  // what its parent made of it leads nowhere here
  const Reporter reporter(keep_only(pipe, options.keeps_standard_error));
  if (options.priority == WorkerOptions::Priority::low) {
    // Files in /proc are root's while our memory is nobody else's to read.
    const int dumpable = ::prctl(PR_GET_DUMPABLE);
    ::prctl(PR_SET_DUMPABLE, 1);
    take_low_priority();
    ::prctl(PR_SET_DUMPABLE, dumpable);
  }
  const Context context(g_stop);
  try {
    body({context, g_hurry, reporter});
  } catch (const std::exception& fault) {
    log::error("a worker ends: {}", fault.what());
    ::_exit(1);
  }
  ::_exit(0);
}

}  // namespace

void take_low_priority() {
  ::setpriority(PRIO_PROCESS, 0, 19);
  // Best effort, the lowest of it: the idle class may never have its turn (no header has these).
  constexpr int kProcess = 1;
  constexpr int kBestEffort = 2;
  constexpr int kClassShift = 13;
  ::syscall(SYS_ioprio_set, kProcess, 0, kBestEffort << kClassShift | 7);
  write_number("/proc/self/oom_score_adj", "1000");
}

void Reporter::tell(const Event& event) const {
  const std::string line = as_line(event);
  // Nobody listens any more: then nobody is told.
  static_cast<void>(write_all(fd_, as_bytes(line), "report").ok());
}

Result<Worker> Worker::start(const WorkerOptions& options, const WorkerBody& body) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  UniqueFd reports(ends[0]);
  const UniqueFd reporting(ends[1]);
  // The worker's end waits, ours does not: they are two open files.
  ::fcntl(reports.get(), F_SETFL, O_NONBLOCK);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return errno_error(errno, "fork");
  if (child == 0) work(options, body, reporting.get(), parent);
  return Worker(child, std::move(reports));
}

Worker::Worker(Worker&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      reports_(std::move(other.reports_)),
      unread_(std::move(other.unread_)) {}

Worker::~Worker() { kill(); }

std::vector<Event> Worker::reports() {
  std::array<char, 4096> piece{};
  while (true) {
    const ssize_t n = ::read(reports_.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    unread_.append(piece.data(), static_cast<size_t>(n));
  }
  std::vector<Event> events;
  size_t begin = 0;
  for (size_t end = unread_.find('\n'); end != std::string::npos; end = unread_.find('\n', begin)) {
    Event event = Event::parse(unread_.begin() + static_cast<ptrdiff_t>(begin),
                               unread_.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
    if (event.is_object()) events.push_back(std::move(event));
    begin = end + 1;
  }
  unread_.erase(0, begin);
  return events;
}

void Worker::send(int signal) const {
  if (pid_ > 0) ::kill(pid_, signal);
}
void Worker::ask_to_stop() const { send(SIGTERM); }
void Worker::hurry() const { send(SIGUSR1); }
void Worker::kill() const { send(SIGKILL); }

}  // namespace thaw::run
