#include "support/redis_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "base/fd.h"
#include "index/redis_link.h"

namespace thaw::test {
namespace {

[[noreturn]] void give_up(const std::string& why) {
  throw std::runtime_error("redis-server for tests: " + why);
}

int free_port() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* general = reinterpret_cast<sockaddr*>(&address);
  if (::bind(fd.get(), general, size) != 0 || ::getsockname(fd.get(), general, &size) != 0) {
    give_up("no free port");
  }
  return ntohs(address.sin_port);
}

}  // namespace

RedisServer::RedisServer(Options options) : options_(std::move(options)), port_(free_port()) {
  if (options_.tls) make_certificate();
  start();
}

RedisServer::~RedisServer() { kill(); }

void RedisServer::make_certificate() const {
  const std::string command =
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "
      "/CN=localhost -addext subjectAltName=IP:127.0.0.1,DNS:localhost -keyout " +
      dir_.path_of("key.pem") + " -out " + dir_.path_of("cert.pem") + " 2>/dev/null";
  if (std::system(command.c_str()) != 0) give_up("openssl made no certificate");  // NOLINT
}

void RedisServer::start() {
  const std::string port = std::to_string(port_);
  std::vector<std::string> words = {
      "redis-server", "--bind", "127.0.0.1", "--save",           "",   "--appendonly",
      "no",           "--dir",  dir_.path(), "--protected-mode", "no", "--enable-debug-command",
      "yes"};
  const auto add = [&](std::initializer_list<std::string> more) {
    words.insert(words.end(), more);
  };
  if (options_.tls) {
    add({"--port", "0", "--tls-port", port, "--tls-cert-file", dir_.path_of("cert.pem"),
         "--tls-key-file", dir_.path_of("key.pem"), "--tls-ca-cert-file", dir_.path_of("cert.pem"),
         "--tls-auth-clients", "no"});
  } else {
    add({"--port", port});
  }
  if (!options_.password.empty()) add({"--requirepass", options_.password});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) give_up("no pipe");
  const UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  process_ = ::fork();
  if (process_ < 0) give_up("no process");
  if (process_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(input.get(), STDOUT_FILENO);
    ::dup2(input.get(), STDERR_FILENO);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  input.reset();
  wait_until_ready(output.get());
}

// It says so. What it says later goes nowhere: it writes to a pipe without a reader, and goes on.
void RedisServer::wait_until_ready(int output) const {
  constexpr int kPatience = 30'000;
  std::string said;
  while (said.find("Ready to accept connections") == std::string::npos) {
    pollfd watched{output, POLLIN, 0};
    char part[4096];
    if (::poll(&watched, 1, kPatience) <= 0) give_up("it does not get ready: " + said);
    const ssize_t got = ::read(output, part, sizeof part);
    if (got <= 0) give_up("it ended: " + said);
    said.append(part, static_cast<size_t>(got));
  }
}

void RedisServer::kill() {
  if (process_ < 0) return;
  ::kill(process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
  process_ = -1;
}

void RedisServer::freeze() { ::kill(process_, SIGSTOP); }
void RedisServer::thaw() { ::kill(process_, SIGCONT); }

std::string RedisServer::url(std::string_view prefix) const {
  return url_with_password(prefix, options_.password);
}

std::string RedisServer::url_with_password(std::string_view prefix,
                                           std::string_view password) const {
  std::string url = options_.tls ? "rediss://" : "redis://";
  if (!password.empty()) url += ":" + std::string(password) + "@";
  url += "127.0.0.1:" + std::to_string(port_) + "/0?prefix=" + std::string(prefix);
  if (options_.tls) url += "&ca_file=" + dir_.path_of("cert.pem");
  return url;
}

RedisReply RedisServer::ask(std::initializer_list<std::string_view> words) const {
  RedisLink link(parse_redis_url(url("none")).value(), std::chrono::minutes(1));
  RedisCommands commands;
  commands.add(words);
  auto replies = link.exchange(Context(), commands);
  if (!replies) give_up(replies.error().text());
  return std::move(replies->front());
}

}  // namespace thaw::test
