#include "run/notify_relay.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/random.h"

namespace thaw::run {
namespace {

// More than a socket takes by default (net.core.wmem_default), and than the kernel passes at all
// (SCM_MAX_FD).
constexpr size_t kMessageBytes = 256 * 1024;
constexpr size_t kDescriptors = 253;

struct Address {
  struct sockaddr_un socket {};
  socklen_t size = 0;
};

// As in NOTIFY_SOCKET: a path, or an abstract name after '@'.
std::optional<Address> address_of(const std::string& text) {
  Address address;
  if (text.size() < 2 || text.size() >= sizeof address.socket.sun_path) return std::nullopt;
  if (text.front() != '/' && text.front() != '@') return std::nullopt;
  address.socket.sun_family = AF_UNIX;
  std::memcpy(address.socket.sun_path, text.data(), text.size());
  address.size = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + text.size());
  if (text.front() == '@') {
    address.socket.sun_path[0] = '\0';
  } else {
    ++address.size;  // with its end
  }
  return address;
}

UniqueFd connect_to(const std::string& text) {
  const auto address = address_of(text);
  if (!address) return {};
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return {};
  if (::connect(fd.get(), reinterpret_cast<const struct sockaddr*>(&address->socket),
                address->size) != 0) {
    log::warn("run: NOTIFY_SOCKET does not answer: {}", std::strerror(errno));
    return {};
  }
  return fd;
}

// Field 4 of /proc/PID/stat; what stands before it may hold anything but ends with ')'.
pid_t parent_of(pid_t pid) {
  const auto text = read_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!text) return 0;
  const std::string line(reinterpret_cast<const char*>(text->data()), text->size());
  const size_t name_end = line.rfind(") ");
  if (name_end == std::string::npos || name_end + 4 >= line.size()) return 0;
  pid_t parent = 0;
  std::from_chars(line.data() + name_end + 4, line.data() + line.size(), parent);
  return parent;
}

bool descends_from(pid_t pid, pid_t ancestor) {
  constexpr int kDeepest = 64;
  for (int depth = 0; depth < kDeepest && pid > 1; ++depth) {
    if (pid == ancestor) return true;
    pid = parent_of(pid);
  }
  return false;
}

bool counts(const struct ucred& sender, pid_t command) {
  return sender.uid == 0 || sender.uid == ::getuid() || descends_from(sender.pid, command);
}

bool says_ready(const std::string& text) {
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (std::string_view(text).substr(begin, end - begin) == "READY=1") return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

Result<NotifyRelay> NotifyRelay::open(const std::optional<std::string>& outer) {
  std::string name = "@thaw-run-" + RandomId::fresh().hex();
  const auto address = address_of(name);
  UniqueFd inner(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!inner.valid() || !address) return errno_error(errno, "socket");
  const int on = 1;
  if (::setsockopt(inner.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0)
    return errno_error(errno, "SO_PASSCRED");
  if (::bind(inner.get(), reinterpret_cast<const struct sockaddr*>(&address->socket),
             address->size) != 0) {
    return errno_error(errno, "bind a socket for sd_notify");
  }
  return NotifyRelay(std::move(inner), outer ? connect_to(*outer) : UniqueFd(), std::move(name));
}

short NotifyRelay::events() const { return held_ ? POLLOUT : POLLIN; }

std::optional<NotifyRelay::Message> NotifyRelay::receive(pid_t command, bool& more) {
  Message message;
  message.text.resize(kMessageBytes);
  struct iovec piece {};
  piece.iov_base = message.text.data();
  piece.iov_len = message.text.size();
  alignas(struct cmsghdr)
      std::array<char, CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(kDescriptors * sizeof(int))>
          control{};
  struct msghdr header {};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t n = ::recvmsg(inner_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  more = n >= 0 || errno == EINTR;
  if (n < 0) return std::nullopt;
  message.text.resize(static_cast<size_t>(n));
  struct ucred sender {};
  sender.uid = static_cast<uid_t>(-1);
  for (auto* each = CMSG_FIRSTHDR(&header); each != nullptr; each = CMSG_NXTHDR(&header, each)) {
    if (each->cmsg_level != SOL_SOCKET) continue;
    if (each->cmsg_type == SCM_CREDENTIALS) {
      std::memcpy(&sender, CMSG_DATA(each), sizeof sender);
    } else if (each->cmsg_type == SCM_RIGHTS) {
      for (size_t at = 0; at + sizeof(int) <= each->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(each) + at, sizeof fd);
        message.descriptors.emplace_back(fd);
      }
    }
  }
  if (!counts(sender, command)) return std::nullopt;
  return message;
}

bool NotifyRelay::pass_on(const Message& message) const {
  if (!outer_.valid()) return true;
  struct iovec piece {};
  piece.iov_base = const_cast<char*>(message.text.data());
  piece.iov_len = message.text.size();
  struct msghdr header {};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  alignas(struct cmsghdr) std::array<char, CMSG_SPACE(kDescriptors * sizeof(int))> control{};
  if (!message.descriptors.empty()) {
    const size_t bytes = message.descriptors.size() * sizeof(int);
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(bytes);
    auto* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(bytes);
    for (size_t i = 0; i < message.descriptors.size(); ++i) {
      const int fd = message.descriptors[i].get();
      std::memcpy(CMSG_DATA(rights) + i * sizeof(int), &fd, sizeof fd);
    }
  }
  // Any other error is the outer side's: it would have been COMMAND's to lose, too.
  return ::sendmsg(outer_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
         (errno != EAGAIN && errno != ENOBUFS);
}

bool NotifyRelay::take(pid_t command) {
  if (held_ && !pass_on(*held_)) return false;
  held_.reset();
  if (std::exchange(owes_ready_, false)) say_ready();
  bool ready = false;
  bool more = true;
  while (more && !held_) {
    auto message = receive(command, more);
    if (!message) continue;
    ready = ready || says_ready(message->text);
    if (!pass_on(*message)) held_ = std::move(message);
  }
  return ready;
}

void NotifyRelay::say_ready() {
  Message message{"READY=1", {}};
  if (held_)
    owes_ready_ = true;
  else if (!pass_on(message))
    held_ = std::move(message);
}

}  // namespace thaw::run
