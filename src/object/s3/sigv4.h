// AWS Signature Version 4 ("Signing AWS API requests", AWS General Reference), for S3 and STS.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "format/digest.h"
#include "object/s3/credentials.h"
#include "object/s3/http.h"

namespace thaw::s3 {

// RFC 3986 percent-encoding as SigV4 asks for: all but A-Z a-z 0-9 - . _ ~, and '/' where it stays.
enum class Slash { keep, encode };
std::string uri_encoded(std::string_view text, Slash slash);

using Query = std::vector<std::pair<std::string, std::string>>;  // not encoded

// "a=1&b=%20", sorted as the signature needs it; the very text that is to be sent.
std::string canonical_query(const Query& query);

// What a signature covers besides time and credentials.
struct SignedRequest {
  std::string method;
  std::string host;   // as in the Host header: with the port unless it is the scheme's own
  std::string path;   // encoded, begins with '/'
  std::string query;  // from canonical_query()
  std::vector<HttpHeader> headers;  // further ones, all of them signed; lower-case names
  std::string payload;              // hex SHA-256 of the body, or "UNSIGNED-PAYLOAD"
};

// Google's variant for its XML interface differs in names alone ("V4 signing process with HMAC
// keys", Cloud Storage documentation); it refuses requests with x-amz- and x-goog- headers in them.
enum class SignatureStyle { aws4, goog4 };

// Which service and region a signature is for.
struct SignatureScope {
  std::string region;
  std::string service = "s3";
  SignatureStyle style = SignatureStyle::aws4;
};

inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

// The request's headers with host, x-amz-date, x-amz-security-token (for temporary credentials) and
// authorization added; for storage x-amz-content-sha256 too (with goog4: x-goog-…). Pure.
std::vector<HttpHeader> sign(const SignedRequest& request, const SignatureScope& scope,
                             const Credentials& credentials, Timestamp now);

// For the published test vectors: the steps between.
std::string canonical_request(const SignedRequest& request, const std::vector<HttpHeader>& headers);

// HMAC-SHA-256 (RFC 2104).
Digest hmac_sha256(Bytes key, std::string_view text);

}  // namespace thaw::s3
