// The credential endpoint of a container: ECS tasks, EKS Pod Identity, and what imitates them.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <cstring>

#include "object/s3/credential_answer.h"
#include "object/s3/credential_sources.h"

namespace thaw::s3 {
namespace {

constexpr const char* kRelative = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
constexpr const char* kFull = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
constexpr const char* kToken = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
constexpr const char* kTokenFile = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

constexpr std::string_view kEcsHost = "169.254.170.2";
constexpr std::string_view kEksHost = "169.254.170.23";
constexpr std::string_view kEksHost6 = "fd00:ec2::23";

constexpr size_t kTokenBytes = 20'000;
// It is on this machine, and may ask IAM first.
constexpr std::chrono::milliseconds kTimeout{5'000};

bool is_same_address6(const in6_addr& address, std::string_view text) {
  in6_addr other{};
  return ::inet_pton(AF_INET6, std::string(text).c_str(), &other) == 1 &&
         std::memcmp(&address, &other, sizeof other) == 0;
}

// Addresses that no other machine answers at. Names are not resolved to find out: who answers for a
// name decides who gets the token.
bool is_of_this_machine(const std::string& host) {
  if (host == "localhost" || host == kEcsHost || host == kEksHost) return true;
  in_addr address4{};
  if (::inet_pton(AF_INET, host.c_str(), &address4) == 1) {
    return (ntohl(address4.s_addr) >> 24U) == 127;
  }
  in6_addr address6{};
  if (::inet_pton(AF_INET6, host.c_str(), &address6) != 1) return false;
  return is_same_address6(address6, "::1") || is_same_address6(address6, kEksHost6);
}

struct Endpoint {
  std::string url;
  std::string host;
  HttpRequest::Route route;
};

// The path of ECS's endpoint lets in whoever knows it, and errors of the way there name the URL.
Error without_path(const Error& error, const Endpoint& endpoint) {
  const std::string url = endpoint.url.substr(0, endpoint.url.find('?'));
  std::string text = error.text();
  for (size_t at = text.find(url); at != std::string::npos; at = text.find(url)) {
    text.replace(at, url.size(), "the endpoint at " + endpoint.host);
  }
  return {error.code(), text};
}

class ContainerSource final : public CredentialSource {
 public:
  ContainerSource(Environment environment, HttpClient& http)
      : environment_(std::move(environment)), http_(http) {}

  Result<std::optional<Credentials>> load(const Context& context) override {
    THAW_ASSIGN(const auto endpoint, find_endpoint());
    if (!endpoint) return std::nullopt;
    HttpRequest request;
    request.url = endpoint->url;
    request.route = endpoint->route;
    request.headers = {{"accept", "application/json"}};
    request.most_bytes = kAnswerBytes;
    THAW_ASSIGN(const Secret token, authorization());
    if (!token.empty()) {
      request.headers.push_back({"authorization", std::string(token.reveal())});
    }
    auto response = send_within(context, kTimeout, http_, request);
    if (!response) return without_path(response.error(), *endpoint);
    if (response->status != 200) return refusal(response->status);
    THAW_ASSIGN(auto credentials,
                credentials_of_json(as_text(response->body.view()), Expiry::optional));
    return credentials;
  }

  std::string describe() const override {
    return fmt::format("the container's credential endpoint ({}, {})", kRelative, kFull);
  }

 private:
  Result<std::optional<Endpoint>> find_endpoint() const {
    if (const auto path = environment_(kRelative)) {
      std::string url = fmt::format("http://{}{}", kEcsHost, *path);
      const auto parsed = parse_http_url(url);
      if (!path->starts_with('/') || !parsed) {
        return Error(Code::invalid, fmt::format("{} is no path: it begins with '/'", kRelative));
      }
      return Endpoint{std::move(url), parsed->host, HttpRequest::Route::direct};
    }
    auto url = environment_(kFull);
    if (!url) return std::nullopt;
    const auto parsed = parse_http_url(*url);
    if (!parsed) {
      return Error(Code::invalid, fmt::format("{} is no plain URL: http://HOST[:PORT]/PATH or "
                                              "https://HOST[:PORT]/PATH",
                                              kFull));
    }
    const bool here = is_of_this_machine(parsed->host);
    if (!parsed->tls && !here) {
      return Error(Code::invalid,
                   fmt::format("{} is plain http to {}: allowed are https, or http to a loopback "
                               "address, {}, {} or [{}]",
                               kFull, parsed->host, kEcsHost, kEksHost, kEksHost6));
    }
    return Endpoint{*std::move(url), parsed->host,
                    here ? HttpRequest::Route::direct : HttpRequest::Route::environment};
  }

  // Empty when none is asked for.
  Result<Secret> authorization() const {
    Secret token;
    if (const auto path = environment_(kTokenFile)) {
      THAW_ASSIGN(token, read_token_file(*path, kTokenBytes, kTokenFile));
    } else if (auto text = environment_(kToken)) {
      token = Secret(*std::move(text));
    } else {
      return token;
    }
    // Basic and Bearer have a blank in them; a line break would begin another header.
    for (const char c : token.reveal()) {
      if (c < ' ' || c > '~') {
        return Error(Code::invalid,
                     fmt::format("the token of {} or {} holds a line break or another character "
                                 "that no header has: write it anew, on one line",
                                 kTokenFile, kToken));
      }
    }
    if (token.reveal().size() > kTokenBytes) {
      return Error(Code::invalid, fmt::format("{} is too long", kToken));
    }
    return token;
  }

  static Error refusal(int status) {
    if (status == 429) return {Code::busy, "it asks for patience: status 429"};
    if (status >= 500) {
      return {Code::unavailable, fmt::format("it does not answer as it should: status {}", status)};
    }
    return {Code::denied,
            fmt::format("it refuses with status {}: look at the role of the task or pod, and at {} "
                        "or {}",
                        status, kTokenFile, kToken)};
  }

  const Environment environment_;
  HttpClient& http_;
};

}  // namespace

std::unique_ptr<CredentialSource> container_source(Environment environment, HttpClient& http) {
  return std::make_unique<ContainerSource>(std::move(environment), http);
}

}  // namespace thaw::s3
