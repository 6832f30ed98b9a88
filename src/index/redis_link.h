// RedisLink: one connection to a Redis server, opened when it is needed and again when it broke.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "index/net_stream.h"
#include "index/redis_reply.h"
#include "index/redis_url.h"

namespace thaw {

// Commands in the form in which they travel. A value; grows as commands are added.
class RedisCommands {
 public:
  void add(std::span<const std::string_view> words);
  void add(std::initializer_list<std::string_view> words) {
    add(std::span(words.begin(), words.size()));
  }
  size_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  size_t count_ = 0;
};

// For one thread at a time.
class RedisLink {
 public:
  // No connection attempt and no exchange takes longer than `patience`.
  RedisLink(RedisUrl url, std::chrono::milliseconds patience)
      : url_(std::move(url)), patience_(patience) {}

  // Sends the commands and answers a reply for each, error replies included. When the connection
  // turns out to be broken, all of it happens once more on a new one: so the commands have to be of
  // a kind that may run twice.
  Result<std::vector<RedisReply>> exchange(const Context& context, const RedisCommands& commands);
  // "redis(host:port/0)", without user and password.
  std::string describe() const;

 private:
  struct Open {
    std::unique_ptr<NetStream> stream;
    RedisReplies replies;
  };

  Result<> connect(const Context& context);
  static Result<std::vector<RedisReply>> exchange_on(Open& open, const Context& context,
                                                     const RedisCommands& commands);

  const RedisUrl url_;
  const std::chrono::milliseconds patience_;
  std::unique_ptr<Open> open_;
};

}  // namespace thaw
