// The places of the credential chain, one factory each, and what they share. Internal to s3/.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "object/s3/credentials.h"

namespace thaw::s3 {

// What each factory is given outlives its source.
std::unique_ptr<CredentialSource> fixed_source(Credentials credentials);
std::unique_ptr<CredentialSource> environment_source(Environment environment);
std::unique_ptr<CredentialSource> profile_source(CredentialOptions options, Environment environment,
                                                 HttpClient& http);
std::unique_ptr<CredentialSource> web_identity_source(CredentialOptions options,
                                                      Environment environment, HttpClient& http);
std::unique_ptr<CredentialSource> container_source(Environment environment, HttpClient& http);
std::unique_ptr<CredentialSource> instance_source(Environment environment, HttpClient& http);

// The cache over sources that are asked in turn.
std::unique_ptr<Credentialing> caching(std::vector<std::unique_ptr<CredentialSource>> sources,
                                       const WallClock& clock);

// A role that is taken with a token from a file.
struct WebIdentity {
  std::string role_arn;
  std::string token_file;
  std::string session_name;  // empty: made up
  std::string region;
  std::string endpoint;  // empty: AWS's own in the region
};
// Asks STS; reads the token file at each call.
Result<Credentials> assume_role(const Context& context, HttpClient& http,
                                const WebIdentity& identity);

// Where STS is, as far as it is not the profile's to say.
std::string sts_region(const CredentialOptions& options, const Environment& environment);
std::string sts_endpoint(const Environment& environment, const std::string& from_profile);

// What the chosen profile says of it. Empty where there is no such profile, or none can be read.
struct ProfilePlace {
  std::string region;
  std::string endpoint_url;
};
ProfilePlace profile_place(const CredentialOptions& options, const Environment& environment);

// As far as it decides whom a secret is sent to: what is not plain here is refused, so that no
// other parser reads another host from it.
struct HttpUrl {
  bool tls = false;
  std::string host;  // lower case; an IPv6 address without its brackets
  std::string rest;  // from the path on; may be empty
};
std::optional<HttpUrl> parse_http_url(std::string_view url);

// A whole file that holds secrets; errors as read_file's.
Result<Secret> read_text_file(const std::string& path, size_t limit_bytes);
// One token: without the blanks and line breaks at its ends, never empty. A file that cannot be
// read is Code::invalid, or denied. Errors name `what` and the path.
Result<Secret> read_token_file(const std::string& path, size_t limit_bytes, std::string_view what);

// Whether the text can stand in a header: not empty, printable ASCII without blanks.
bool is_header_token(std::string_view text);

// Sends with a time limit of its own. Past it, and for an answer that is too long, the error is
// Code::unavailable.
Result<HttpResponse> send_within(const Context& context, std::chrono::milliseconds limit,
                                 HttpClient& http, const HttpRequest& request);

}  // namespace thaw::s3
