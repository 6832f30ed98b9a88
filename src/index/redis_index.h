// A RecencyIndex in Redis, for a tier that several machines share.
#pragma once

#include <chrono>
#include <memory>

#include "index/redis_url.h"
#include "object/recency_index.h"

namespace thaw {

struct RedisIndexOptions {
  RedisUrl url;
  // For one answer of the server, and for connecting to it.
  std::chrono::milliseconds patience{3000};
};

// Speaks to one server (6.2 or later), or to a proxy before several: all keys have one hash slot,
// "{prefix}:…", so an index has to fit one node. What one call does takes effect in steps of 128
// to 500 blocks, each as a whole. A connection that broke is opened once more for each call; when
// the server was emptied meanwhile the index is empty, no more. The server has to keep what it is
// told (maxmemory-policy noeviction): one that is full refuses uses and fills (Code::exhausted) and
// still takes evictions. Precondition: the URL has a prefix.
std::unique_ptr<RecencyIndex> make_redis_index(RedisIndexOptions options);

}  // namespace thaw
