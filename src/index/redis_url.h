// Where an index in Redis is, as people write it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret.h"
#include "index/net_stream.h"

namespace thaw {

struct RedisUrl {
  NetPlace place;
  bool tls = false;
  std::string user;  // empty: the default user
  Secret password;   // empty: none
  int database = 0;
  std::string prefix;   // of the keys; empty: not said
  std::string ca_file;  // PEM; empty: the system's authorities
};

bool is_redis_url(std::string_view text);
// `redis://[user:password@]host[:port][/db][?prefix=…]`, and `rediss://` for TLS, with `ca_file`.
// User, password and values are percent-encoded. Errors never repeat the URL.
Result<RedisUrl> parse_redis_url(std::string_view text);

}  // namespace thaw
