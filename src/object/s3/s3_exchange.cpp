#include "object/s3/s3_exchange.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>

#include "base/log.h"
#include "base/version.h"
#include "object/s3/dates.h"
#include "object/s3/s3_answer.h"

namespace thaw::s3 {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// So many answers tell a server's tail.
constexpr size_t kEnoughSamples = 16;
// Below this a second request costs more than it saves.
constexpr milliseconds kSoonest{20};

}  // namespace

void FirstByteTail::add(microseconds time) {
  const std::lock_guard lock(mutex_);
  if (samples_.size() < kSamples) {
    samples_.push_back(time);
  } else {
    samples_[next_] = time;
  }
  next_ = (next_ + 1) % kSamples;
}

milliseconds FirstByteTail::hedge_after() const {
  std::vector<microseconds> sorted;
  {
    const std::lock_guard lock(mutex_);
    if (samples_.size() < kEnoughSamples) return start_;
    sorted = samples_;
  }
  const auto tail = sorted.begin() + static_cast<ptrdiff_t>(sorted.size() * 19 / 20);
  std::nth_element(sorted.begin(), tail, sorted.end());
  return std::max(std::chrono::duration_cast<milliseconds>(*tail * 2), kSoonest);
}

bool HedgeBudget::take() {
  constexpr uint64_t kFree = 2;
  uint64_t taken = taken_.load(std::memory_order_relaxed);
  while (taken < kFree + requests_.load(std::memory_order_relaxed) / 50) {
    if (taken_.compare_exchange_weak(taken, taken + 1, std::memory_order_relaxed)) return true;
  }
  return false;
}

Exchange::Exchange(S3Options options, HttpClient& http, Credentialing* credentials,
                   const WallClock& clock)
    : options_(std::move(options)),
      http_(http),
      credentials_(credentials),
      clock_(clock),
      tail_(options_.hedge_start) {
  std::string endpoint = options_.endpoint;
  if (endpoint.empty()) {
    endpoint = options_.dialect == Dialect::google
                   ? "https://storage.googleapis.com"
                   : fmt::format("https://s3.{}.amazonaws.com{}", options_.region,
                                 options_.region.starts_with("cn-") ? ".cn" : "");
  }
  const size_t colon = endpoint.find("://");
  scheme_ = endpoint.substr(0, colon);
  host_ = endpoint.substr(colon + 3);
  const bool own =
      options_.endpoint.empty() &&
      options_.bucket.find('.') == std::string::npos;  // a certificate covers one label
  bucket_in_path_ = options_.addressing == Addressing::path ||
                    (options_.addressing == Addressing::automatic && !own);
  if (!bucket_in_path_) host_ = options_.bucket + "." + host_;
}

std::string Exchange::path_of(const Call& call) const {
  std::string path = "/";
  if (bucket_in_path_) path += options_.bucket;
  if (call.bucket) return path;
  if (bucket_in_path_) path += '/';
  if (!options_.prefix.empty()) path += uri_encoded(options_.prefix, Slash::keep) + "/";
  return path + uri_encoded(call.name, Slash::keep);
}

Result<HttpResponse> Exchange::send(const Context& context, const Call& call) {
  bool refreshed = false;
  bool corrected = false;
  while (true) {
    std::optional<Credentials> credentials;
    if (credentials_ != nullptr) {
      THAW_ASSIGN(credentials, credentials_->current(context).within("find credentials for S3"));
    }
    auto response = send_once(context, call, credentials);
    if (!response || (response->status != 400 && response->status != 403)) return response;
    const std::string code = parse_error_answer(response->body.view()).code;
    const bool expired =
        code == "ExpiredToken" || code == "ExpiredTokenException" || code == "TokenRefreshRequired";
    if (expired && credentials && !refreshed) {
      refreshed = true;
      credentials_->reject(*credentials);
      continue;
    }
    if (code == "RequestTimeTooSkewed" && !corrected) {
      corrected = true;
      correct_clock(*response);
      continue;
    }
    return response;
  }
}

Result<HttpResponse> Exchange::send_once(const Context& context, const Call& call,
                                         const std::optional<Credentials>& credentials) {
  const bool google = options_.dialect == Dialect::google;
  SignedRequest to_sign{call.method,   host_,
                        path_of(call), canonical_query(call.query),
                        call.headers,  std::string(kUnsignedPayload)};
  if (options_.checksums || call.body.empty()) {
    to_sign.payload = (call.body_sha256 ? *call.body_sha256 : sha256(call.body.view())).hex();
  }

  HttpRequest request;
  request.method = call.method;
  request.url = fmt::format("{}://{}{}{}{}", scheme_, host_, to_sign.path,
                            to_sign.query.empty() ? "" : "?", to_sign.query);
  request.body = call.body;
  request.expected_bytes = call.expected_bytes;
  request.most_bytes = call.most_bytes;
  if (credentials) {
    const Timestamp now{clock_.now().ns + clock_offset_ns_.load(std::memory_order_relaxed)};
    request.headers =
        google ? sign(to_sign, {"auto", "storage", SignatureStyle::goog4}, *credentials, now)
               : sign(to_sign, {options_.region, "s3"}, *credentials, now);
  } else {
    request.headers = call.headers;
  }
  request.headers.push_back({"user-agent", fmt::format("thaw/{}", kVersion)});

  hedges_.count_request();
  if (call.may_run_twice && options_.hedge_start.count() > 0) {
    request.hedge = Hedge{tail_.hedge_after(), [this] { return hedges_.take(); }};
  }
  auto response = http_.send(context, request);
  if (!response && response.error().code() == Code::exhausted) {
    // A server that says more than it was asked for: no want of room here.
    return Error(Code::unavailable, response.error().text());
  }
  if (response && call.may_run_twice) {
    tail_.add(response->first_byte);
    if (response->hedged) log::debug("{} {}: asked a second time", call.method, request.url);
  }
  return response;
}

void Exchange::correct_clock(const HttpResponse& response) {
  const auto server = parse_http_date(response.header("date"));
  if (!server) return;
  const int64_t offset = server->ns - clock_.now().ns;
  clock_offset_ns_.store(offset, std::memory_order_relaxed);
  log::warn("this machine's clock is {} s {} the S3 server's: corrected for this command",
            std::abs(offset) / 1'000'000'000, offset > 0 ? "behind" : "ahead of");
}

std::chrono::nanoseconds Exchange::clock_offset() const {
  return std::chrono::nanoseconds(clock_offset_ns_.load(std::memory_order_relaxed));
}

std::string Exchange::describe() const {
  return fmt::format("{}://{}{}{}{}{}", scheme_, host_, bucket_in_path_ ? "/" : "",
                     bucket_in_path_ ? options_.bucket : "", options_.prefix.empty() ? "" : "/",
                     options_.prefix);
}

std::string base64(Bytes bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(),
                                       static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

void add_encryption(const S3Options& options, std::vector<HttpHeader>& headers) {
  if (!options.encryption.empty()) {
    headers.push_back({"x-amz-server-side-encryption", options.encryption});
  }
  if (!options.encryption_key_id.empty()) {
    headers.push_back({"x-amz-server-side-encryption-aws-kms-key-id", options.encryption_key_id});
  }
}

Error error_of(const HttpResponse& response) {
  return error_of_answer(response, parse_error_answer(response.body.view()));
}

}  // namespace thaw::s3
