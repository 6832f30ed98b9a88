#include "index/redis_link.h"

#include <fmt/format.h>
#include <hiredis/hiredis.h>

#include <stdexcept>

namespace thaw {

// --- commands

void RedisCommands::add(std::span<const std::string_view> words) {
  std::vector<const char*> texts;
  std::vector<size_t> sizes;
  for (const std::string_view word : words) {
    texts.push_back(word.data() == nullptr ? "" : word.data());
    sizes.push_back(word.size());
  }
  char* made = nullptr;
  const int size =
      redisFormatCommandArgv(&made, static_cast<int>(words.size()), texts.data(), sizes.data());
  if (size < 0) throw std::bad_alloc();
  bytes_.append(made, static_cast<size_t>(size));
  redisFreeCommand(made);
  ++count_;
}

// --- the connection

Result<std::vector<RedisReply>> RedisLink::exchange(const Context& context,
                                                    const RedisCommands& commands) {
  const auto attempt = [&]() -> Result<std::vector<RedisReply>> {
    const Context limited = context.within(patience_);
    if (!open_) THAW_CHECK(connect(limited));
    auto replies = exchange_on(*open_, limited, commands);
    // What was not read yet would be taken for the next answers.
    if (!replies) open_.reset();
    return replies;
  };
  const bool was_open = open_ != nullptr;
  auto replies = attempt();
  // A server that was restarted, or closes what is idle, says so at the next command.
  const bool broke = !replies && replies.error().code() == Code::unavailable;
  if (broke && was_open) replies = attempt();
  if (!replies) {
    THAW_CHECK(context.alive());
    if (replies.error().code() == Code::timeout) {
      return Error(Code::unavailable, fmt::format("no answer within {} ms", patience_.count()));
    }
  }
  return replies;
}

Result<> RedisLink::connect(const Context& context) {
  auto open = std::make_unique<Open>();
  if (url_.tls) {
    THAW_ASSIGN(open->stream, connect_tls(context, url_.place, url_.ca_file));
  } else {
    THAW_ASSIGN(open->stream, connect_tcp(context, url_.place));
  }
  RedisCommands greeting;
  if (!url_.password.empty()) {
    const std::string_view password = url_.password.reveal();
    if (url_.user.empty()) {
      greeting.add({"AUTH", password});
    } else {
      greeting.add({"AUTH", url_.user, password});
    }
  }
  // Where databases have no numbers, 0 is the one.
  const std::string database = std::to_string(url_.database);
  if (url_.database != 0) greeting.add({"SELECT", database});
  if (greeting.count() > 0) {
    THAW_ASSIGN(const auto replies, exchange_on(*open, context, greeting));
    for (const RedisReply& reply : replies) {
      if (!reply.is_error()) continue;
      // Some servers quote what they do not understand, and that was the password.
      return Error(error_of(reply).code(),
                   "the server refuses the login: " + reply.text.substr(0, reply.text.find(' ')));
    }
  }
  open_ = std::move(open);
  return {};
}

Result<std::vector<RedisReply>> RedisLink::exchange_on(Open& open, const Context& context,
                                                       const RedisCommands& commands) {
  THAW_CHECK(open.stream->write_all(context, as_bytes(commands.bytes())));
  std::vector<RedisReply> replies;
  replies.reserve(commands.count());
  ByteVector part(64 * 1024);
  while (replies.size() < commands.count()) {
    THAW_ASSIGN(auto reply, open.replies.next());
    if (reply) {
      replies.push_back(*std::move(reply));
      continue;
    }
    THAW_ASSIGN(const size_t got, open.stream->read_some(context, part.span()));
    THAW_CHECK(open.replies.feed(part.view().first(got)));
  }
  return replies;
}

std::string RedisLink::describe() const {
  const bool is_v6 = url_.place.host.find(':') != std::string::npos;
  return fmt::format("redis{}({}{}{}:{}/{})", url_.tls ? "s" : "", is_v6 ? "[" : "",
                     url_.place.host, is_v6 ? "]" : "", url_.place.port, url_.database);
}

}  // namespace thaw
