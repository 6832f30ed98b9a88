// The metadata service of an EC2 instance, version 2: a token first, then the role, then its keys.
#include <fmt/format.h>

#include <atomic>

#include "base/percent.h"
#include "object/s3/credential_answer.h"
#include "object/s3/credential_sources.h"

namespace thaw::s3 {
namespace {

constexpr const char* kDisabled = "AWS_EC2_METADATA_DISABLED";
constexpr const char* kEndpoint = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
constexpr const char* kMode = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";

constexpr std::string_view kDefault = "http://169.254.169.254";
constexpr std::string_view kDefault6 = "http://[fd00:ec2::254]";
constexpr std::string_view kTokenPath = "/latest/api/token";
constexpr std::string_view kRolePath = "/latest/meta-data/iam/security-credentials/";

// So that a machine outside EC2, where nothing answers, waits no longer: the service's own answers
// take some milliseconds.
constexpr std::chrono::milliseconds kTimeout{1000};
constexpr const char* kTokenSeconds = "21600";
constexpr size_t kTokenBytes = 4096;

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::string_view first_line(std::string_view text) {
  const std::string_view line = text.substr(0, text.find_first_of("\r\n"));
  const size_t end = line.find_last_not_of(" \t");
  return end == std::string_view::npos ? "" : line.substr(0, end + 1);
}

Error refusal(std::string_view what, int status) {
  const std::string said = fmt::format("the {} is refused with status {}", what, status);
  if (status == 429) return {Code::busy, said};
  if (status >= 500) return {Code::unavailable, said};
  return {Code::denied, said + ": look at the instance's role and metadata options"};
}

class InstanceSource final : public CredentialSource {
 public:
  InstanceSource(Environment environment, HttpClient& http)
      : environment_(std::move(environment)), http_(http) {}

  Result<std::optional<Credentials>> load(const Context& context) override {
    if (lower(environment_(kDisabled).value_or("")) == "true") return std::nullopt;
    THAW_ASSIGN(const std::string base, endpoint());
    THAW_ASSIGN(const auto token, fetch_token(context, base));
    if (!token) return std::nullopt;
    THAW_ASSIGN(const std::string role, fetch_role(context, base, *token));
    if (role.empty()) return std::nullopt;
    THAW_ASSIGN(auto credentials, fetch_credentials(context, base, *token, role));
    has_answered_ = true;
    return credentials;
  }

  std::string describe() const override {
    const auto base = endpoint();
    return fmt::format("the instance's metadata service ({})",
                       base ? *base : fmt::format("at the address in {}", kEndpoint));
  }

 private:
  // Without a slash at its end.
  Result<std::string> endpoint() const {
    auto named = environment_(kEndpoint);
    if (!named) {
      const std::string mode = lower(environment_(kMode).value_or("ipv4"));
      if (mode == "ipv4") return std::string(kDefault);
      if (mode == "ipv6") return std::string(kDefault6);
      return Error(Code::invalid, fmt::format("{} is neither IPv4 nor IPv6", kMode));
    }
    const auto url = parse_http_url(*named);
    if (!url || url->rest.find('?') != std::string::npos) {
      return Error(Code::invalid,
                   fmt::format("{} is no plain URL: write it as http://HOST[:PORT]", kEndpoint));
    }
    while (named->ends_with('/')) named->pop_back();
    return *std::move(named);
  }

  Result<HttpResponse> ask(const Context& context, std::string_view method, std::string url,
                           HttpHeader header) const {
    HttpRequest request;
    request.method = method;
    request.url = std::move(url);
    request.headers = {std::move(header)};
    request.most_bytes = kAnswerBytes;
    request.route = HttpRequest::Route::direct;
    return send_within(context, kTimeout, http_, request);
  }

  // Empty when there is no such service here. Once it has answered it is known to be here, and its
  // silence is an error.
  Result<std::optional<Secret>> fetch_token(const Context& context, const std::string& base) const {
    const auto response = ask(context, "PUT", fmt::format("{}{}", base, kTokenPath),
                              {"x-aws-ec2-metadata-token-ttl-seconds", kTokenSeconds});
    if (!response) {
      const Error& error = response.error();
      if (error.code() == Code::unavailable && !has_answered_) return std::nullopt;
      return error;
    }
    const int status = response->status;
    // 403: switched off for this instance. Other clouds' services at this address answer 400 to
    // 405.
    if (status >= 300 && status < 500 && status != 429 && !has_answered_) return std::nullopt;
    if (status != 200) return refusal("session token", status);
    const std::string_view text = as_text(response->body.view());
    if (!is_header_token(text) || text.size() > kTokenBytes) {
      return Error(
          Code::unavailable,
          fmt::format("the answer is no session token: outside EC2, set {}=true", kDisabled));
    }
    return Secret(std::string(text));
  }

  Result<HttpResponse> get(const Context& context, std::string url, const Secret& token) const {
    return ask(context, "GET", std::move(url),
               {"x-aws-ec2-metadata-token", std::string(token.reveal())});
  }

  // Empty when the instance has no role.
  Result<std::string> fetch_role(const Context& context, const std::string& base,
                                 const Secret& token) const {
    THAW_ASSIGN(const HttpResponse response,
                get(context, fmt::format("{}{}", base, kRolePath), token));
    if (response.status == 404) return std::string();
    if (response.status != 200) return refusal("role's name", response.status);
    const std::string_view role = first_line(as_text(response.body.view()));
    constexpr size_t kLongest = 128;
    if (role.size() > kLongest || (!role.empty() && !is_header_token(role))) {
      return Error(Code::unavailable, "the answer is no role's name");
    }
    return std::string(role);
  }

  Result<Credentials> fetch_credentials(const Context& context, const std::string& base,
                                        const Secret& token, const std::string& role) const {
    THAW_ASSIGN(const HttpResponse response,
                get(context, fmt::format("{}{}{}", base, kRolePath, percent_encoded(role)), token));
    // The role was there a moment ago: it is being changed.
    if (response.status == 404) {
      return Error(Code::unavailable, fmt::format("the role {} has no credentials yet", role));
    }
    if (response.status != 200) return refusal("role's credentials", response.status);
    return credentials_of_json(as_text(response.body.view()), Expiry::required);
  }

  const Environment environment_;
  HttpClient& http_;
  std::atomic<bool> has_answered_{false};
};

}  // namespace

std::unique_ptr<CredentialSource> instance_source(Environment environment, HttpClient& http) {
  return std::make_unique<InstanceSource>(std::move(environment), http);
}

}  // namespace thaw::s3
