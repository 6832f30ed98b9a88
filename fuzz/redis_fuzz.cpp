// What an index in Redis reads that others write. The first byte of the input chooses the lane:
//   even  the rest is what a server answers; its second byte says in which parts it comes
//   odd   the rest is a URL
#include <algorithm>

#include "check.h"
#include "index/redis_reply.h"
#include "index/redis_url.h"

namespace thaw {
namespace {

size_t parts_of(const RedisReply& reply, size_t depth) {
  FUZZ_CHECK(depth < 16);
  size_t parts = 1;
  for (const RedisReply& each : reply.list) parts += parts_of(each, depth + 1);
  static_cast<void>(number_of(reply));
  static_cast<void>(error_of(reply));
  return parts;
}

void fuzz_replies(Bytes input) {
  if (input.empty()) return;
  const size_t part = input[0] % 64 + 1;
  input = input.subspan(1);
  RedisReplies replies;
  size_t bytes = 0;
  while (!input.empty()) {
    const size_t size = std::min(part, input.size());
    if (!replies.feed(input.first(size))) return;
    input = input.subspan(size);
    bytes += size;
    while (true) {
      const auto reply = replies.next();
      if (!reply) return;
      if (!reply->has_value()) break;
      // An element takes three bytes at least.
      FUZZ_CHECK(parts_of(**reply, 0) <= bytes);
    }
  }
}

void fuzz_url(Bytes input) {
  const auto url = parse_redis_url(as_text(input));
  if (!url) {
    FUZZ_CHECK(url.error().code() == Code::invalid);
    return;
  }
  FUZZ_CHECK(!url->place.host.empty() && url->place.port != 0 && url->database >= 0);
}

}  // namespace
}  // namespace thaw

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const thaw::Bytes rest(data + 1, size - 1);
  if (data[0] % 2 == 0) {
    thaw::fuzz_replies(rest);
  } else {
    thaw::fuzz_url(rest);
  }
  return 0;
}
