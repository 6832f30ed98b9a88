#include "index/net_stream.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/fd.h"

namespace thaw {
namespace {

using std::chrono::milliseconds;

// Stop flags wake nobody, so look at them now and then.
constexpr milliseconds kLook{50};

Error unavailable(int errno_value, std::string_view what) {
  return {Code::unavailable, errno_error(errno_value, what).text()};
}

milliseconds next_look(const Context& context) {
  return std::min(kLook, context.remaining().value_or(kLook)) + milliseconds(1);
}

// Until the socket is ready for `events`, or broken, which the next call tells.
Result<> wait_for(const Context& context, int fd, short events) {
  while (true) {
    THAW_CHECK(context.alive());
    pollfd watched{fd, events, 0};
    const int ready = ::poll(&watched, 1, static_cast<int>(next_look(context).count()));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return errno_error(errno, "wait for a socket");
  }
}

class TcpStream final : public NetStream {
 public:
  explicit TcpStream(UniqueFd fd) : fd_(std::move(fd)) {}

  Result<> write_all(const Context& context, Bytes bytes) override {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        bytes = bytes.subspan(static_cast<size_t>(sent));
      } else if (errno == EAGAIN) {
        THAW_CHECK(wait_for(context, fd_.get(), POLLOUT));
      } else if (errno != EINTR) {
        return unavailable(errno, "send");
      }
    }
    return {};
  }

  Result<size_t> read_some(const Context& context, MutableBytes to) override {
    while (true) {
      THAW_CHECK(context.alive());
      const ssize_t got = ::recv(fd_.get(), to.data(), to.size(), 0);
      if (got > 0) return static_cast<size_t>(got);
      if (got == 0) return Error(Code::unavailable, "the other side closed the connection");
      if (errno == EAGAIN) {
        THAW_CHECK(wait_for(context, fd_.get(), POLLIN));
      } else if (errno != EINTR) {
        return unavailable(errno, "receive");
      }
    }
  }

 private:
  const UniqueFd fd_;
};

// --- addresses

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

// A look-up that may outlive who asked: a resolver that does not answer can be stopped by nobody.
struct LookUp {
  std::string host, port;
  addrinfo hints{};
  gaicb request{};
};

addrinfo stream_hints(int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  return hints;
}

Error no_address(const NetPlace& place, int fault) {
  const Code code = fault == EAI_MEMORY ? Code::exhausted : Code::unavailable;
  return {code, fmt::format("resolve {}: {}", place.host, ::gai_strerror(fault))};
}

Result<Addresses> resolve(const Context& context, const NetPlace& place) {
  const std::string port = std::to_string(place.port);
  const addrinfo numeric = stream_hints(AI_NUMERICHOST);
  addrinfo* raw = nullptr;
  if (::getaddrinfo(place.host.c_str(), port.c_str(), &numeric, &raw) == 0) return Addresses(raw);

  auto look_up = std::make_unique<LookUp>(LookUp{place.host, port});
  look_up->hints = stream_hints(AI_ADDRCONFIG);
  look_up->request.ar_name = look_up->host.c_str();
  look_up->request.ar_service = look_up->port.c_str();
  look_up->request.ar_request = &look_up->hints;
  gaicb* list[] = {&look_up->request};
  const int begun = ::getaddrinfo_a(GAI_NOWAIT, list, 1, nullptr);
  if (begun != 0) return no_address(place, begun);
  while (::gai_error(list[0]) == EAI_INPROGRESS) {
    const auto alive = context.alive();
    if (!alive && ::gai_cancel(list[0]) == EAI_NOTCANCELED) {
      // The resolver still writes there.
      static_cast<void>(look_up.release());
    }
    THAW_CHECK(alive);
    const auto pause = next_look(context);
    const timespec limit{0, std::chrono::nanoseconds(pause).count()};
    ::gai_suspend(list, 1, &limit);
  }
  const int fault = ::gai_error(list[0]);
  if (fault != 0) return no_address(place, fault);
  return Addresses(look_up->request.ar_result);
}

Result<UniqueFd> connect_to(const Context& context, const addrinfo& address) {
  UniqueFd fd(::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno_error(errno, "make a socket");
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS && errno != EINTR) return unavailable(errno, "connect");
    THAW_CHECK(wait_for(context, fd.get(), POLLOUT));
    int fault = 0;
    socklen_t size = sizeof fault;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &fault, &size);
    if (fault != 0) return unavailable(fault, "connect");
  }
  return fd;
}

}  // namespace

Result<std::unique_ptr<NetStream>> connect_tcp(const Context& context, const NetPlace& place) {
  THAW_ASSIGN(const Addresses addresses, resolve(context, place));
  Error last(Code::unavailable, "no address");
  for (const addrinfo* each = addresses.get(); each != nullptr; each = each->ai_next) {
    auto connected = connect_to(context, *each);
    if (connected) {
      return std::unique_ptr<NetStream>(std::make_unique<TcpStream>(*std::move(connected)));
    }
    last = std::move(connected).error();
    THAW_CHECK(context.alive());
  }
  return last;
}

}  // namespace thaw
