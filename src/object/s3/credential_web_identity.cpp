// Roles taken with a web identity's token: STS's AssumeRoleWithWebIdentity, which needs no keys.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/percent.h"
#include "base/random.h"
#include "object/s3/credential_answer.h"
#include "object/s3/credential_sources.h"

namespace thaw::s3 {
namespace {

// STS takes tokens of up to 20,000 characters.
constexpr size_t kIdentityTokenBytes = 20'000;
// STS asks the identity's provider for its keys meanwhile.
constexpr std::chrono::milliseconds kStsTimeout{10'000};

bool is_any_of(std::string_view characters, char c) {
  return characters.find(c) != std::string_view::npos;
}
bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_region(std::string_view text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}
bool is_session_name(std::string_view text) {
  return text.size() >= 2 && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return is_letter_or_digit(c) || is_any_of("_+=,.@-", c);
         });
}
bool is_role_arn(std::string_view text) {
  return text.starts_with("arn:") && text.size() <= 2048 && is_header_token(text);
}

Result<std::string> sts_url(const WebIdentity& identity) {
  if (!identity.endpoint.empty()) {
    const auto url = parse_http_url(identity.endpoint);
    if (!url || is_any_of(url->rest, '?')) {
      return Error(Code::invalid,
                   "the endpoint for STS is no plain URL: write AWS_ENDPOINT_URL_STS (or "
                   "AWS_ENDPOINT_URL, or the profile's endpoint_url) as https://HOST[:PORT]");
    }
    return identity.endpoint + (url->rest.empty() ? "/" : "");
  }
  if (!is_region(identity.region)) {
    return Error(Code::invalid, identity.region.empty()
                                    ? "no region is known for STS: set AWS_REGION"
                                    : "the region is malformed: set AWS_REGION to one like "
                                      "us-east-1, or AWS_ENDPOINT_URL_STS");
  }
  // The isolated partitions have domains of their own too: they take AWS_ENDPOINT_URL_STS.
  const bool china = identity.region.starts_with("cn-");
  return fmt::format("https://sts.{}.amazonaws.com{}/", identity.region, china ? ".cn" : "");
}

struct Hint {
  std::string_view code;
  std::string_view text;
};
constexpr std::array kHints = {
    Hint{"ExpiredTokenException", "the token has expired: have its file renewed"},
    Hint{"ExpiredToken", "the token has expired: have its file renewed"},
    Hint{
        "InvalidIdentityToken",
        "the token is not accepted: look at the identity provider in IAM and the token's audience"},
    Hint{"IDPRejectedClaim", "the identity provider refused it: have the token's file renewed"},
    Hint{"AccessDenied",
         "the role's trust policy does not allow it: look at the subject and audience there"},
    Hint{"RegionDisabledException",
         "STS is switched off in this region: switch it on, or set "
         "another AWS_REGION"},
    Hint{"ValidationError", "look at the role's ARN and the session's name"},
};

// Never quotes STS's own text: that may quote the token.
Error refusal(int status, const std::string& code) {
  const std::string said = code.empty() ? fmt::format("status {}", status) : code;
  if (status == 429 || code.starts_with("Throttling") || code == "RequestLimitExceeded") {
    return {Code::busy, "too many requests: " + said};
  }
  if (status >= 500 || code == "IDPCommunicationError") {
    return {Code::unavailable, "it does not answer as it should: " + said};
  }
  if (status >= 300 && status < 400) {
    return {Code::invalid, fmt::format("it answers {}, a redirect: set AWS_ENDPOINT_URL_STS to "
                                       "where it really is",
                                       said)};
  }
  const auto* hint = std::find_if(kHints.begin(), kHints.end(),
                                  [&](const Hint& each) { return each.code == code; });
  return {Code::denied, fmt::format("refused with {}{}{}", said, hint == kHints.end() ? "" : ": ",
                                    hint == kHints.end() ? std::string_view() : hint->text)};
}

Result<Credentials> ask_sts(const Context& context, HttpClient& http, const std::string& url,
                            std::string form) {
  HttpRequest request;
  request.method = "POST";
  request.url = url;
  request.headers = {{"content-type", "application/x-www-form-urlencoded"}, {"accept", "text/xml"}};
  request.body = Buffer(std::move(form));
  request.most_bytes = kAnswerBytes;
  THAW_ASSIGN(const HttpResponse response, send_within(context, kStsTimeout, http, request));
  const std::string_view body = as_text(response.body.view());
  if (response.status != 200) return refusal(response.status, sts_error_code(body));
  return credentials_of_sts(body);
}

class WebIdentitySource final : public CredentialSource {
 public:
  WebIdentitySource(CredentialOptions options, Environment environment, HttpClient& http)
      : options_(std::move(options)), environment_(std::move(environment)), http_(http) {}

  Result<std::optional<Credentials>> load(const Context& context) override {
    auto token_file = environment_("AWS_WEB_IDENTITY_TOKEN_FILE");
    // A role's ARN alone is set for other tools' purposes as well.
    if (!token_file) return std::nullopt;
    auto role = environment_("AWS_ROLE_ARN");
    if (!role) {
      return Error(Code::invalid,
                   "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not: set it to the role "
                   "that is to be taken");
    }
    WebIdentity identity;
    identity.role_arn = *std::move(role);
    identity.token_file = *std::move(token_file);
    identity.session_name = environment_("AWS_ROLE_SESSION_NAME").value_or("");
    const ProfilePlace place = profile_place(options_, environment_);
    identity.region = sts_region(options_, environment_);
    if (identity.region.empty()) identity.region = place.region;
    identity.endpoint = sts_endpoint(environment_, place.endpoint_url);
    THAW_ASSIGN(auto credentials, assume_role(context, http_, identity));
    return credentials;
  }

  std::string describe() const override {
    return "the web identity (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN)";
  }

 private:
  const CredentialOptions options_;
  const Environment environment_;
  HttpClient& http_;
};

}  // namespace

std::unique_ptr<CredentialSource> web_identity_source(CredentialOptions options,
                                                      Environment environment, HttpClient& http) {
  return std::make_unique<WebIdentitySource>(std::move(options), std::move(environment), http);
}

std::string sts_region(const CredentialOptions& options, const Environment& environment) {
  if (!options.region.empty()) return options.region;
  if (auto region = environment("AWS_REGION")) return *std::move(region);
  return environment("AWS_DEFAULT_REGION").value_or("");
}

std::string sts_endpoint(const Environment& environment, const std::string& from_profile) {
  if (environment("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").value_or("") == "true") return "";
  if (auto url = environment("AWS_ENDPOINT_URL_STS")) return *std::move(url);
  return environment("AWS_ENDPOINT_URL").value_or(from_profile);
}

Result<Credentials> assume_role(const Context& context, HttpClient& http,
                                const WebIdentity& identity) {
  if (!is_role_arn(identity.role_arn)) {
    return Error(Code::invalid,
                 "the role's ARN is malformed: it reads like arn:aws:iam::123456789012:role/NAME");
  }
  const std::string session =
      identity.session_name.empty() ? "thaw-" + RandomId::fresh().hex() : identity.session_name;
  if (!is_session_name(session)) {
    return Error(Code::invalid,
                 "the role session's name is malformed: 2 to 64 letters, digits or _+=,.@-");
  }
  THAW_ASSIGN(const std::string url, sts_url(identity));
  THAW_ASSIGN(const Secret token, read_token_file(identity.token_file, kIdentityTokenBytes,
                                                  "the web identity's token file"));
  if (!is_header_token(token.reveal())) {
    return Error(Code::invalid,
                 fmt::format("the web identity's token file, {}, holds more than one "
                             "token: blanks, line breaks or other characters",
                             identity.token_file));
  }
  std::string form = fmt::format(
      "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}"
      "&WebIdentityToken={}",
      percent_encoded(identity.role_arn), percent_encoded(session),
      percent_encoded(token.reveal()));
  return ask_sts(context, http, url, std::move(form))
      .within(fmt::format("take {} at {} with the token in {}", identity.role_arn, url,
                          identity.token_file));
}

}  // namespace thaw::s3
