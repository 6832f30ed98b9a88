// What a Redis server answers (RESP 2): from bytes to values. No I/O; hostile input is expected.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace thaw {

struct RedisReply {
  enum class Kind { text, integer, nil, error, list };
  Kind kind = Kind::nil;
  std::string text{};  // of text and error
  int64_t integer = 0;
  std::vector<RedisReply> list{};

  bool is_text() const { return kind == Kind::text; }
  bool is_error() const { return kind == Kind::error; }
};

// Its error as ours: what a server says is no secret of ours, but cut short.
Error error_of(const RedisReply& reply);
// Code::unavailable for a reply of another kind than was asked for; an error reply is its error.
Error unexpected(const RedisReply& reply);
// A number in a text or integer reply.
Result<int64_t> number_of(const RedisReply& reply);
Result<const std::vector<RedisReply>*> list_of(const RedisReply& reply);
Result<const std::vector<RedisReply>*> list_of(const RedisReply& reply, size_t size);

// Puts replies together from the bytes of a connection. Not thread-safe. After an error it is of no
// further use.
class RedisReplies {
 public:
  // A reply that takes more bytes or elements is an error.
  static constexpr size_t kMostBytes = 64 * 1024 * 1024;
  static constexpr size_t kMostElements = 128 * 1024;

  RedisReplies();
  ~RedisReplies();
  RedisReplies(const RedisReplies&) = delete;
  RedisReplies& operator=(const RedisReplies&) = delete;

  Result<> feed(Bytes bytes);
  // The next whole reply; empty while more bytes are needed.
  Result<std::optional<RedisReply>> next();

 private:
  struct Reader;
  const std::unique_ptr<Reader> reader_;
  size_t pending_bytes_ = 0;  // since the last whole reply
};

}  // namespace thaw
