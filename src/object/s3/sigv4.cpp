#include "object/s3/sigv4.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>

#include "base/percent.h"

namespace thaw::s3 {
namespace {

struct Names {
  std::string_view algorithm;
  std::string_view key;
  std::string_view end;
  std::string_view header;
};
constexpr Names kAws4{"AWS4-HMAC-SHA256", "AWS4", "aws4_request", "x-amz-"};
constexpr Names kGoog4{"GOOG4-HMAC-SHA256", "GOOG4", "goog4_request", "x-goog-"};

const Names& names_of(SignatureStyle style) {
  return style == SignatureStyle::aws4 ? kAws4 : kGoog4;
}

// "20130524T000000Z"
std::string basic_time(Timestamp now) {
  const time_t seconds = static_cast<time_t>(now.ns / 1'000'000'000);
  struct tm utc {};
  (void)::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

// Without the blanks around it, and runs of blanks inside as one.
std::string collapsed(std::string_view value) {
  std::string text;
  for (const char c : value) {
    const bool blank = c == ' ' || c == '\t';
    if (blank && (text.empty() || text.back() == ' ')) continue;
    text += blank ? ' ' : c;
  }
  if (text.ends_with(' ')) text.pop_back();
  return text;
}

std::string names_of(const std::vector<HttpHeader>& headers) {
  std::string names;
  for (const HttpHeader& header : headers) {
    if (!names.empty()) names += ';';
    names += header.name;
  }
  return names;
}

std::string signature_of(const Credentials& credentials, const SignatureScope& scope,
                         std::string_view date, std::string_view text) {
  const Names& names = names_of(scope.style);
  std::string secret = fmt::format("{}{}", names.key, credentials.secret_access_key.reveal());
  Digest key = hmac_sha256(as_bytes(secret), date);
  OPENSSL_cleanse(secret.data(), secret.size());
  key = hmac_sha256(key.bytes, scope.region);
  key = hmac_sha256(key.bytes, scope.service);
  key = hmac_sha256(key.bytes, names.end);
  std::string signature = hmac_sha256(key.bytes, text).hex();
  OPENSSL_cleanse(key.bytes.data(), key.bytes.size());
  return signature;
}

}  // namespace

std::string uri_encoded(std::string_view text, Slash slash) {
  return percent_encoded(text, slash == Slash::keep ? "/" : "");
}

std::string canonical_query(const Query& query) {
  Query encoded;
  for (const auto& [name, value] : query) {
    encoded.emplace_back(uri_encoded(name, Slash::encode), uri_encoded(value, Slash::encode));
  }
  std::sort(encoded.begin(), encoded.end());
  std::string text;
  for (const auto& [name, value] : encoded) {
    text += fmt::format("{}{}={}", text.empty() ? "" : "&", name, value);
  }
  return text;
}

std::string canonical_request(const SignedRequest& request,
                              const std::vector<HttpHeader>& headers) {
  std::string text = fmt::format("{}\n{}\n{}\n", request.method, request.path, request.query);
  for (const HttpHeader& header : headers) {
    text += fmt::format("{}:{}\n", header.name, collapsed(header.value));
  }
  return text + fmt::format("\n{}\n{}", names_of(headers), request.payload);
}

Digest hmac_sha256(Bytes key, std::string_view text) {
  Digest digest;
  unsigned length = 0;
  const Bytes data = as_bytes(text);
  // Only a build of OpenSSL without SHA-256 fails here, and nothing of thaw works there.
  if (::HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data.data(), data.size(),
             digest.bytes.data(), &length) == nullptr) {
    std::abort();
  }
  return digest;
}

std::vector<HttpHeader> sign(const SignedRequest& request, const SignatureScope& scope,
                             const Credentials& credentials, Timestamp now) {
  const std::string time = basic_time(now);
  const std::string date = time.substr(0, 8);
  const Names& names = names_of(scope.style);
  const auto own = [&names](std::string_view name) {
    return fmt::format("{}{}", names.header, name);
  };
  std::vector<HttpHeader> headers = request.headers;
  headers.push_back({"host", request.host});
  headers.push_back({own("date"), time});
  if (scope.service == "s3" || scope.service == "storage") {
    headers.push_back({own("content-sha256"), request.payload});
  }
  if (!credentials.session_token.empty()) {
    headers.push_back({own("security-token"), std::string(credentials.session_token.reveal())});
  }
  std::sort(headers.begin(), headers.end(),
            [](const HttpHeader& a, const HttpHeader& b) { return a.name < b.name; });

  const std::string where =
      fmt::format("{}/{}/{}/{}", date, scope.region, scope.service, names.end);
  const std::string to_sign =
      fmt::format("{}\n{}\n{}\n{}", names.algorithm, time, where,
                  sha256(as_bytes(canonical_request(request, headers))).hex());
  headers.push_back(
      {"authorization",
       fmt::format("{} Credential={}/{},SignedHeaders={},Signature={}", names.algorithm,
                   credentials.access_key_id, where, names_of(headers),
                   signature_of(credentials, scope, date, to_sign))});
  return headers;
}

}  // namespace thaw::s3
