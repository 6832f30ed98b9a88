#include "index/redis_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "base/percent.h"

namespace thaw {
namespace {

constexpr std::string_view kPlain = "redis://";
constexpr std::string_view kTls = "rediss://";
constexpr uint16_t kPort = 6379;

Error refused(std::string_view why) {
  return {Code::invalid, fmt::format("a URL of Redis (it is not repeated here): {}", why)};
}

template <class Number>
bool parse_number(std::string_view text, Number& number) {
  const char* end = text.data() + text.size();
  const auto [at, fault] = std::from_chars(text.data(), end, number);
  return !text.empty() && fault == std::errc() && at == end;
}

Result<> set_login(RedisUrl& url, std::string_view login) {
  const size_t colon = login.find(':');
  if (colon == std::string_view::npos) return refused("write user:password@, or :password@");
  auto user = percent_decoded(login.substr(0, colon));
  auto password = percent_decoded(login.substr(colon + 1));
  if (!user || !password) return refused("a '%' begins no two hexadecimal digits");
  url.user = *std::move(user);
  url.password = Secret(*std::move(password));
  if (url.password.empty()) return refused("the password is empty");
  return {};
}

// "host", "host:port", "[v6]:port"
Result<> set_place(RedisUrl& url, std::string_view place) {
  url.place.port = kPort;
  std::string_view port;
  if (place.starts_with('[')) {
    const size_t end = place.find(']');
    if (end == std::string_view::npos) return refused("a '[' without its ']'");
    url.place.host = place.substr(1, end - 1);
    port = place.substr(end + 1);
  } else {
    const size_t colon = std::min(place.find(':'), place.size());
    url.place.host = place.substr(0, colon);
    port = place.substr(colon);
  }
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_' ||
           c == ':';
  };
  if (url.place.host.empty() || !std::all_of(url.place.host.begin(), url.place.host.end(), fits)) {
    return refused("it names no host");
  }
  if (port.empty()) return {};
  if (!port.starts_with(':') || !parse_number(port.substr(1), url.place.port) ||
      url.place.port == 0) {
    return refused("the port is no number from 1 to 65535");
  }
  return {};
}

Result<> set_parameter(RedisUrl& url, std::string_view word) {
  const size_t equals = std::min(word.find('='), word.size());
  const std::string_view name = word.substr(0, equals);
  const auto value = percent_decoded(word.substr(std::min(equals + 1, word.size())));
  if (!value || value->empty()) return refused("a parameter is not NAME=VALUE");
  if (name == "prefix") {
    // Braces are ours: what is in them keeps all keys on one node.
    const bool fits = value->size() <= 100 && std::all_of(value->begin(), value->end(), [](char c) {
                        return c > ' ' && c < 0x7f && c != '{' && c != '}';
                      });
    if (!fits) return refused("the prefix is not up to 100 visible characters without braces");
    url.prefix = *value;
    return {};
  }
  if (name == "ca_file") {
    if (!url.tls) return refused("ca_file is for rediss://");
    url.ca_file = *value;
    return {};
  }
  return refused("of parameters there are prefix and ca_file");
}

}  // namespace

bool is_redis_url(std::string_view text) {
  return text.starts_with(kPlain) || text.starts_with(kTls);
}

Result<RedisUrl> parse_redis_url(std::string_view text) {
  RedisUrl url;
  if (!is_redis_url(text)) return refused("it begins with redis:// or rediss://");
  url.tls = text.starts_with(kTls);
  text.remove_prefix(url.tls ? kTls.size() : kPlain.size());
  if (text.find('#') != std::string_view::npos) return refused("a '#' is written %23");
  const size_t question = std::min(text.find('?'), text.size());
  std::string_view rest = text.substr(std::min(question + 1, text.size()));
  std::string_view place = text.substr(0, question);
  const size_t slash = std::min(place.find('/'), place.size());
  const std::string_view database = place.substr(std::min(slash + 1, place.size()));
  place = place.substr(0, slash);
  const size_t at = place.rfind('@');
  if (at != std::string_view::npos) THAW_CHECK(set_login(url, place.substr(0, at)));
  THAW_CHECK(set_place(url, at == std::string_view::npos ? place : place.substr(at + 1)));
  if (!database.empty() && (!parse_number(database, url.database) || url.database < 0)) {
    return refused("what follows the host is no database's number");
  }
  std::set<std::string_view> given;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view word = rest.substr(0, end);
    if (!given.insert(word.substr(0, word.find('='))).second) {
      return refused("a parameter is given more than once");
    }
    THAW_CHECK(set_parameter(url, word));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return url;
}

}  // namespace thaw
