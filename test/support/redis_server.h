// A real redis-server for tests, on loopback, which ends with the test.
#pragma once

#include <sys/types.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "index/redis_reply.h"
#include "support/temp_dir.h"

namespace thaw::test {

// The place of the URL's parameters is open: url() + "?prefix=…", or for TLS "&prefix=…".
// Throws std::runtime_error when it cannot be started. Not thread-safe.
class RedisServer {
 public:
  struct Options {
    bool tls = false;        // with a certificate that certificate() trusts
    std::string password{};  // of the default user
  };

  RedisServer() : RedisServer(Options{}) {}
  explicit RedisServer(Options options);
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;
  ~RedisServer();

  // "redis://:password@127.0.0.1:port?prefix=PREFIX"; over TLS with the authority's file.
  std::string url(std::string_view prefix) const;
  std::string url_with_password(std::string_view prefix, std::string_view password) const;
  int port() const { return port_; }
  const Options& options() const { return options_; }

  // By SIGKILL. What it knew is gone.
  void kill();
  // On the same port, empty.
  void start();
  // Stops answering, and goes on where it was.
  void freeze();
  void thaw();
  // A command's reply; a failure of the test where there is none.
  RedisReply ask(std::initializer_list<std::string_view> words) const;

 private:
  void make_certificate() const;
  void wait_until_ready(int output) const;

  const Options options_;
  TempDir dir_;
  int port_ = 0;
  pid_t process_ = -1;
};

}  // namespace thaw::test
