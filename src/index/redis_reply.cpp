#include "index/redis_reply.h"

#include <fmt/format.h>
#include <hiredis/read.h>

#include <algorithm>
#include <charconv>
#include <new>

namespace thaw {
namespace {

// What a server says first tells what is wrong.
struct Word {
  std::string_view prefix;
  Code code;
};
constexpr Word kWords[] = {
    {"NOAUTH", Code::denied},
    {"WRONGPASS", Code::denied},
    {"NOPERM", Code::denied},
    {"ERR invalid password", Code::denied},
    {"ERR AUTH", Code::denied},
    {"ERR Client sent AUTH", Code::denied},
    {"OOM", Code::exhausted},
    {"ERR max number of clients", Code::exhausted},
    {"BUSY", Code::busy},
    {"LOADING", Code::unavailable},
    {"MASTERDOWN", Code::unavailable},
    {"CLUSTERDOWN", Code::unavailable},
    {"TRYAGAIN", Code::unavailable},
    {"READONLY", Code::unavailable},
    {"MISCONF", Code::unavailable},
    {"NOREPLICAS", Code::unavailable},
    {"UNKILLABLE", Code::unavailable},
    {"MOVED", Code::invalid},
    {"ASK", Code::invalid},
    {"WRONGTYPE", Code::invalid},
    {"ERR unknown command", Code::invalid},
};

// For what was built while one reply is read.
struct Building {
  std::unique_ptr<RedisReply> root;
  size_t elements = 0;
};

// A place for the task's value: in its parent's list, or the root. Null when there is no room; the
// reader then gives up. hiredis frees a root alone, which is ours in any case.
RedisReply* place_of(const redisReadTask* task, size_t elements) {
  auto* building = static_cast<Building*>(task->privdata);
  building->elements += elements;
  if (building->elements > RedisReplies::kMostElements) return nullptr;
  if (task->parent == nullptr) {
    building->root = std::make_unique<RedisReply>();
    return building->root.get();
  }
  auto& list = static_cast<RedisReply*>(task->parent->obj)->list;
  const auto at = static_cast<size_t>(task->idx);
  return at < list.size() ? &list[at] : nullptr;
}

// No exception may pass through hiredis.
template <class Fill>
void* made(const redisReadTask* task, size_t elements, const Fill& fill) {
  try {
    RedisReply* reply = place_of(task, elements);
    if (reply != nullptr) fill(*reply);
    return reply;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void* make_text(const redisReadTask* task, char* text, size_t size) {
  return made(task, 0, [&](RedisReply& reply) {
    const bool is_error = task->type == REDIS_REPLY_ERROR;
    reply.kind = is_error ? RedisReply::Kind::error : RedisReply::Kind::text;
    reply.text.assign(text, size);
  });
}
void* make_list(const redisReadTask* task, int elements) {
  const auto size = static_cast<size_t>(std::max(elements, 0));
  return made(task, size, [&](RedisReply& reply) {
    reply.kind = RedisReply::Kind::list;
    reply.list.resize(size);
  });
}
void* make_integer(const redisReadTask* task, long long value) {
  return made(task, 0, [&](RedisReply& reply) {
    reply.kind = RedisReply::Kind::integer;
    reply.integer = value;
  });
}
void* make_nil(const redisReadTask* task) {
  return made(task, 0, [](RedisReply& reply) { reply.kind = RedisReply::Kind::nil; });
}
void free_nothing(void*) {}

redisReplyObjectFunctions functions{make_text, make_list, make_integer, make_nil, free_nothing};

std::string_view name_of(RedisReply::Kind kind) {
  switch (kind) {
    case RedisReply::Kind::text:
      return "text";
    case RedisReply::Kind::integer:
      return "a number";
    case RedisReply::Kind::nil:
      return "nothing";
    case RedisReply::Kind::error:
      return "an error";
    case RedisReply::Kind::list:
      return "a list";
  }
  return "something";
}

}  // namespace

Error error_of(const RedisReply& reply) {
  constexpr size_t kShown = 200;
  std::string text = reply.text.substr(0, kShown);
  // It may quote what it was sent, whatever bytes those are.
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  for (const Word& word : kWords) {
    if (reply.text.starts_with(word.prefix)) return {word.code, "the server says: " + text};
  }
  return {Code::internal, "the server says: " + text};
}

Error unexpected(const RedisReply& reply) {
  if (reply.is_error()) return error_of(reply);
  return {Code::unavailable,
          fmt::format("the server answered {} of another form", name_of(reply.kind))};
}

Result<int64_t> number_of(const RedisReply& reply) {
  if (reply.kind == RedisReply::Kind::integer) return reply.integer;
  int64_t value = 0;
  const char* end = reply.text.data() + reply.text.size();
  const auto [at, fault] = std::from_chars(reply.text.data(), end, value);
  if (!reply.is_text() || fault != std::errc() || at != end) return unexpected(reply);
  return value;
}

Result<const std::vector<RedisReply>*> list_of(const RedisReply& reply) {
  if (reply.kind != RedisReply::Kind::list) return unexpected(reply);
  return &reply.list;
}

Result<const std::vector<RedisReply>*> list_of(const RedisReply& reply, size_t size) {
  if (reply.kind != RedisReply::Kind::list || reply.list.size() != size) return unexpected(reply);
  return &reply.list;
}

// --- the reader

struct RedisReplies::Reader {
  struct Free {
    void operator()(redisReader* owned) const { redisReaderFree(owned); }
  };
  std::unique_ptr<redisReader, Free> reader{redisReaderCreateWithFunctions(&functions)};
  Building building;
};

RedisReplies::RedisReplies() : reader_(std::make_unique<Reader>()) {
  if (reader_->reader) reader_->reader->privdata = &reader_->building;
}

RedisReplies::~RedisReplies() = default;

Result<> RedisReplies::feed(Bytes bytes) {
  redisReader* reader = reader_->reader.get();
  pending_bytes_ += bytes.size();
  if (pending_bytes_ > kMostBytes)
    return Error(Code::unavailable, "the server's reply is too long");
  const std::string_view text = as_text(bytes);
  if (reader == nullptr || redisReaderFeed(reader, text.data(), text.size()) != REDIS_OK) {
    return Error(Code::exhausted, "no memory for the server's reply");
  }
  return {};
}

Result<std::optional<RedisReply>> RedisReplies::next() {
  redisReader* reader = reader_->reader.get();
  if (reader == nullptr) return Error(Code::exhausted, "no memory for the server's reply");
  void* whole = nullptr;
  if (redisReaderGetReply(reader, &whole) != REDIS_OK) {
    const bool too_large = reader_->building.elements > kMostElements;
    return Error(Code::unavailable, too_large ? "the server's reply has too many parts"
                                              : "the server does not speak Redis's protocol");
  }
  if (whole == nullptr) return std::optional<RedisReply>();
  RedisReply reply = std::move(*reader_->building.root);
  reader_->building = {};
  pending_bytes_ = reader->len - reader->pos;
  return std::optional(std::move(reply));
}

}  // namespace thaw
