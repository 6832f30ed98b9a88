#include "run/event_sink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>

namespace thaw::run {
namespace {

// Several hundred events: more than a start has, so only a reader that does not read loses any.
constexpr size_t kPendingBytes = 64 * 1024;

bool is_socket(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

}  // namespace

std::string as_text(const Event& event) {
  std::string line;
  for (const auto& [name, value] : event.items()) {
    if (name == "event" || name == "at_ms") continue;
    line +=
        fmt::format(" {}={}", name, value.dump(-1, ' ', false, Event::error_handler_t::replace));
  }
  return event.value("event", "") + line;
}

std::string as_line(const Event& event) {
  return event.dump(-1, ' ', false, Event::error_handler_t::replace) + '\n';
}

Result<int> descriptor_number(const std::string& text) {
  int number = -1;
  const char* last = text.data() + text.size();
  const auto [end, fault] =
      std::from_chars(text.data() + std::min<size_t>(3, text.size()), last, number);
  if (!names_descriptor(text) || fault != std::errc() || end != last || number < 0)
    return Error(Code::invalid, "\"" + text + "\" is no descriptor: write fd:N, like fd:3");
  return number;
}

Result<EventSink> EventSink::open(const std::string& target) {
  if (!names_descriptor(target)) {
    // O_NONBLOCK: a FIFO without a reader is an error here, and no wait.
    THAW_ASSIGN(UniqueFd fd,
                open_path(target, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY, 0644));
    return EventSink(std::move(fd), Kind::reopened);
  }
  THAW_ASSIGN(const int number, descriptor_number(target));
  UniqueFd own(::fcntl(number, F_DUPFD_CLOEXEC, 3));
  if (!own.valid()) return errno_error(errno, "use " + target);
  // It was given to us, not to COMMAND; but 0, 1 and 2 are COMMAND's in any case.
  if (number > 2) ::fcntl(number, F_SETFD, FD_CLOEXEC);
  if (is_socket(own.get())) return EventSink(std::move(own), Kind::socket);
  // O_NONBLOCK belongs to the open file, which others may have too: so another one is opened.
  auto again = open_path(fmt::format("/proc/self/fd/{}", own.get()),
                         O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY);
  if (again) return EventSink(*std::move(again), Kind::reopened);
  return EventSink(std::move(own), Kind::shared);
}

ssize_t EventSink::write_some(const char* data, size_t size) const {
  if (kind_ == Kind::socket) return ::send(fd_.get(), data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (kind_ == Kind::shared) {
    struct pollfd asked {};
    asked.fd = fd_.get();
    asked.events = POLLOUT;
    if (::poll(&asked, 1, 0) != 1) {
      errno = EAGAIN;
      return -1;
    }
    // So much a pipe that is ready takes without waiting.
    size = std::min<size_t>(size, PIPE_BUF);
  }
  return ::write(fd_.get(), data, size);
}

void EventSink::write(Event event) {
  if (!fd_.valid()) return;
  if (dropped_ > 0) event["dropped"] = dropped_;
  append(as_line(event));
}

void EventSink::write_text(std::string_view line) {
  if (!fd_.valid()) return;
  std::string text;
  if (dropped_ > 0) text = fmt::format("thaw: {} lines were lost: nobody read them\n", dropped_);
  append(text.append(line));
}

void EventSink::append(const std::string& line) {
  if (pending_.size() + line.size() > kPendingBytes) flush();
  if (pending_.size() + line.size() > kPendingBytes) {
    ++dropped_;
    return;
  }
  dropped_ = 0;
  pending_ += line;
  flush();
}

void EventSink::flush() {
  while (waiting()) {
    const ssize_t n = write_some(pending_.data(), pending_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) {  // nobody reads any more, or there is no room
      pending_.clear();
      if (errno == EPIPE) fd_.reset();
      return;
    }
    pending_.erase(0, static_cast<size_t>(n));
  }
}

}  // namespace thaw::run
