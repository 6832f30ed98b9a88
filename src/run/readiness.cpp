#include "run/readiness.h"

#include <netdb.h>
#include <poll.h>
#include <regex.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <memory>
#include <string_view>
#include <system_error>
#include <thread>

#include "base/fd.h"
#include "object/s3/http.h"

namespace thaw::run {
namespace {

using std::chrono::milliseconds;

// A service that comes up in a moment is seen at once, and one that takes minutes costs little.
constexpr milliseconds kFirstPause{20};
constexpr milliseconds kLongestPause{500};
constexpr milliseconds kPatience{2000};  // of one look
constexpr size_t kBodyBytes = 1024 * 1024;

class Pattern {
 public:
  static Result<std::unique_ptr<Pattern>> compile(const std::string& text) {
    auto made = std::unique_ptr<Pattern>(new Pattern());
    const int fault = ::regcomp(&made->compiled_, text.c_str(), REG_EXTENDED | REG_NOSUB);
    if (fault == 0) {
      made->usable_ = true;
      return made;
    }
    char why[128] = {};
    ::regerror(fault, &made->compiled_, why, sizeof why);
    return Error(Code::invalid, "\"" + text + "\" is no pattern: " + why);
  }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
  ~Pattern() {
    if (usable_) ::regfree(&compiled_);
  }

  // By length: a body may have zeros in it.
  bool is_in(std::string_view text) const {
    regmatch_t part{};
    part.rm_eo = static_cast<regoff_t>(text.size());
    return ::regexec(&compiled_, text.data(), 1, &part, REG_STARTEND) == 0;
  }

 private:
  Pattern() = default;
  regex_t compiled_{};
  bool usable_ = false;
};

struct Place {
  std::string host;
  std::string port;
};

// "127.0.0.1:80", "[::1]:80".
Result<Place> parse_place(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size())
    return Error(Code::invalid, "\"" + text + "\" is no HOST:PORT");
  Place place{text.substr(0, colon), text.substr(colon + 1)};
  const bool digits = std::all_of(place.port.begin(), place.port.end(),
                                  [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || place.port.size() > 5)
    return Error(Code::invalid, "\"" + place.port + "\" is no port");
  if (place.host.front() == '[' && place.host.back() == ']')
    place.host = place.host.substr(1, place.host.size() - 2);
  return place;
}

// Whether one look finds it ready.
class Probe {
 public:
  virtual ~Probe() = default;
  virtual bool look(const Context& context) = 0;
};

class HttpProbe final : public Probe {
 public:
  HttpProbe(const Readiness& readiness, std::unique_ptr<Pattern> pattern)
      : readiness_(readiness),
        pattern_(std::move(pattern)),
        client_(s3::make_http_client({kPatience, kPatience, ""})) {}

  bool look(const Context& context) override {
    s3::HttpRequest request;
    request.url = readiness_.target;
    request.most_bytes = kBodyBytes;
    request.route = s3::HttpRequest::Route::direct;
    // A body may have no end: streams of events are endpoints, too.
    request.enough = [this](const s3::HttpResponse& answer) {
      return !has_status(answer) || has_body(answer);
    };
    const auto answer = client_->send(context, request);
    return answer && has_status(*answer) && has_body(*answer);
  }

 private:
  bool has_status(const s3::HttpResponse& answer) const {
    return readiness_.status ? answer.status == *readiness_.status
                             : answer.status >= 200 && answer.status < 400;
  }
  bool has_body(const s3::HttpResponse& answer) const {
    if (pattern_ == nullptr) return true;
    const auto* text = reinterpret_cast<const char*>(answer.body.data());
    return pattern_->is_in(std::string_view(text == nullptr ? "" : text, answer.body.size()));
  }

  const Readiness& readiness_;
  const std::unique_ptr<Pattern> pattern_;
  const std::unique_ptr<s3::HttpClient> client_;
};

class TcpProbe final : public Probe {
 public:
  explicit TcpProbe(Place place) : place_(std::move(place)) {}

  bool look(const Context& context) override {
    struct addrinfo hints {};
    hints.ai_socktype = SOCK_STREAM;
    struct addrinfo* found = nullptr;
    if (::getaddrinfo(place_.host.c_str(), place_.port.c_str(), &hints, &found) != 0) return false;
    const std::unique_ptr<struct addrinfo, void (*)(struct addrinfo*)> owned(found,
                                                                             &::freeaddrinfo);
    for (const auto* each = found; each != nullptr; each = each->ai_next) {
      if (takes_connection(context, *each)) return true;
    }
    return false;
  }

 private:
  static bool takes_connection(const Context& context, const struct addrinfo& address) {
    const UniqueFd fd(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) return false;
    if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0) return true;
    if (errno != EINPROGRESS) return false;
    struct pollfd asked {};
    asked.fd = fd.get();
    asked.events = POLLOUT;
    const auto left = context.remaining().value_or(kPatience);
    if (::poll(&asked, 1, static_cast<int>(left.count())) != 1) return false;
    int fault = 0;
    socklen_t size = sizeof fault;
    return ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &fault, &size) == 0 && fault == 0;
  }

  const Place place_;
};

class FileProbe final : public Probe {
 public:
  FileProbe(std::string path, const FileMark& before) : path_(std::move(path)), before_(before) {}
  bool look(const Context& /*context*/) override {
    const FileMark now = mark_of(path_);
    return now && now != before_;
  }

 private:
  const std::string path_;
  const FileMark before_;
};

Result<std::unique_ptr<Probe>> make_probe(const Readiness& readiness, const FileMark& before) {
  if (readiness.kind == Readiness::Kind::tcp) {
    THAW_ASSIGN(Place place, parse_place(readiness.target));
    return std::unique_ptr<Probe>(std::make_unique<TcpProbe>(std::move(place)));
  }
  if (readiness.kind == Readiness::Kind::file)
    return std::unique_ptr<Probe>(std::make_unique<FileProbe>(readiness.target, before));
  std::unique_ptr<Pattern> pattern;
  if (!readiness.body_pattern.empty()) {
    THAW_ASSIGN(pattern, Pattern::compile(readiness.body_pattern));
  }
  return std::unique_ptr<Probe>(std::make_unique<HttpProbe>(readiness, std::move(pattern)));
}

// Signals that end the context do not end a sleep: it is short.
void pause(const Context& context, milliseconds time) {
  constexpr milliseconds kStep{20};
  while (time.count() > 0 && context.alive()) {
    std::this_thread::sleep_for(std::min(time, kStep));
    time -= kStep;
  }
}

int descriptor_limit() {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::numeric_limits<int>::max();
  return static_cast<int>(
      std::min<rlim_t>(limit.rlim_cur, static_cast<rlim_t>(std::numeric_limits<int>::max())));
}

int64_t nanoseconds(const struct timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

bool is_probed(Readiness::Kind kind) {
  return kind == Readiness::Kind::http || kind == Readiness::Kind::tcp ||
         kind == Readiness::Kind::file;
}

const char* name_of(Readiness::Kind kind) {
  switch (kind) {
    case Readiness::Kind::never:
      return "never";
    case Readiness::Kind::http:
      return "http";
    case Readiness::Kind::tcp:
      return "tcp";
    case Readiness::Kind::file:
      return "file";
    case Readiness::Kind::fd:
      return "fd";
    case Readiness::Kind::notify:
      return "notify";
    case Readiness::Kind::exit:
      return "exit";
    case Readiness::Kind::after:
      return "after";
  }
  return "never";
}

Result<> check_readiness(const Readiness& readiness) {
  const std::string& target = readiness.target;
  if (readiness.kind == Readiness::Kind::http && !target.starts_with("http://") &&
      !target.starts_with("https://")) {
    return Error(Code::invalid, "\"" + target + "\" is no URL of http:// or https://");
  }
  if (readiness.status && (*readiness.status < 100 || *readiness.status > 599))
    return Error(Code::invalid, "a status has three digits, like 200");
  if (!readiness.body_pattern.empty()) THAW_CHECK(Pattern::compile(readiness.body_pattern));
  if (readiness.kind == Readiness::Kind::tcp) THAW_CHECK(parse_place(target));
  if (readiness.kind == Readiness::Kind::fd && readiness.number < 3)
    return Error(Code::invalid, "COMMAND has descriptors 0, 1 and 2 already: take 3 or more");
  if (readiness.kind == Readiness::Kind::fd && readiness.number >= descriptor_limit() - 1)
    return Error(Code::invalid, "descriptor " + std::to_string(readiness.number) +
                                    " is beyond the limit of this process, " +
                                    std::to_string(descriptor_limit()) + " (ulimit -n)");
  return {};
}

FileMark mark_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return std::make_tuple(status.st_dev, status.st_ino, nanoseconds(status.st_mtim),
                         nanoseconds(status.st_ctim));
}

bool awaits_file_below(const Readiness& readiness, const std::string& path) {
  if (readiness.kind != Readiness::Kind::file) return false;
  std::error_code fault;
  const auto file = std::filesystem::absolute(readiness.target, fault).lexically_normal();
  return !fault && file.string().starts_with(path + "/");
}

Result<> wait_until_ready(const Context& context, const Readiness& readiness,
                          const FileMark& before) {
  THAW_ASSIGN(const auto probe, make_probe(readiness, before));
  milliseconds wait = kFirstPause;
  while (true) {
    THAW_CHECK(context.alive());
    const Context one_look = context.within(kPatience);
    if (probe->look(one_look)) return {};
    pause(context, wait);
    wait = std::min(wait * 2, kLongestPause);
  }
}

}  // namespace thaw::run
