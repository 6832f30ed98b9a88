#include "object/s3/credential_sources.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/fd.h"
#include "object/s3/credential_answer.h"

namespace thaw::s3 {
namespace {

bool is_visible(char c) { return c > ' ' && c <= '~'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

std::string lower(std::string_view text) {
  std::string low(text);
  for (char& c : low) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return low;
}

// ":8080", or nothing.
bool is_port(std::string_view text) {
  if (text.empty()) return true;
  return text.size() >= 2 && text.size() <= 6 && text.front() == ':' &&
         std::all_of(text.begin() + 1, text.end(), is_digit);
}

// "host", "host:80" or "[::1]:80"; empty when it is none of them.
std::string host_of(std::string_view authority) {
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos || !is_port(authority.substr(close + 1))) return "";
    const std::string_view address = authority.substr(1, close - 1);
    const bool fits = std::all_of(address.begin(), address.end(),
                                  [](char c) { return is_hex(c) || c == ':' || c == '.'; });
    return fits ? lower(address) : "";
  }
  const size_t colon = std::min(authority.find(':'), authority.size());
  const std::string_view name = authority.substr(0, colon);
  const bool fits = std::all_of(name.begin(), name.end(), [](char c) {
    return is_letter(c) || is_digit(c) || c == '.' || c == '-' || c == '_';
  });
  return fits && is_port(authority.substr(colon)) ? lower(name) : "";
}

class FixedSource final : public CredentialSource {
 public:
  explicit FixedSource(Credentials credentials) : credentials_(std::move(credentials)) {}

  Result<std::optional<Credentials>> load(const Context& /*context*/) override {
    const std::string fault = fault_of(credentials_);
    if (!fault.empty()) {
      return Error(Code::invalid,
                   fault +
                       ": set both keys as they were given out, or neither to use the "
                       "environment, a profile or a role");
    }
    return credentials_;
  }
  std::string describe() const override { return "the settings"; }

 private:
  const Credentials credentials_;
};

}  // namespace

std::unique_ptr<CredentialSource> fixed_source(Credentials credentials) {
  return std::make_unique<FixedSource>(std::move(credentials));
}

std::optional<HttpUrl> parse_http_url(std::string_view url) {
  if (!std::all_of(url.begin(), url.end(), is_visible)) return std::nullopt;
  // A backslash is a slash to some; what follows '#' is never sent.
  if (url.find_first_of("\\#") != std::string_view::npos) return std::nullopt;
  constexpr std::string_view kPlain = "http://";
  constexpr std::string_view kTls = "https://";
  HttpUrl parsed;
  parsed.tls = url.starts_with(kTls);
  if (!parsed.tls && !url.starts_with(kPlain)) return std::nullopt;
  url.remove_prefix(parsed.tls ? kTls.size() : kPlain.size());
  const size_t end = std::min(url.find_first_of("/?"), url.size());
  parsed.host = host_of(url.substr(0, end));
  if (parsed.host.empty()) return std::nullopt;
  parsed.rest = std::string(url.substr(end));
  return parsed;
}

Result<Secret> read_text_file(const std::string& path, size_t limit_bytes) {
  THAW_ASSIGN(ByteVector bytes, read_file(path, limit_bytes));
  Secret text{std::string(as_text(bytes.view()))};
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return text;
}

Result<Secret> read_token_file(const std::string& path, size_t limit_bytes, std::string_view what) {
  auto whole = read_text_file(path, limit_bytes);
  if (!whole) {
    // A file that is missing here is no missing snapshot: it is a wrong name in the configuration.
    const Code code = whole.error().code() == Code::denied ? Code::denied : Code::invalid;
    return Error(code, fmt::format("{} cannot be read: {}", what, whole.error().text()));
  }
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::string_view text = whole->reveal();
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) {
    return Error(Code::invalid, fmt::format("{}, {}, is empty", what, path));
  }
  return Secret(std::string(text.substr(first, text.find_last_not_of(kBlanks) - first + 1)));
}

bool is_header_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_visible);
}

Result<HttpResponse> send_within(const Context& context, std::chrono::milliseconds limit,
                                 HttpClient& http, const HttpRequest& request) {
  const Context bounded = context.within(limit);
  auto response = http.send(bounded, request);
  if (!response && response.error().code() == Code::timeout && context.alive()) {
    return Error(Code::unavailable, fmt::format("no answer within {} ms", limit.count()));
  }
  if (!response && response.error().code() == Code::exhausted) {
    return Error(Code::unavailable,
                 "it answers what no such service does: " + std::move(response).error().text());
  }
  return response;
}

}  // namespace thaw::s3
