// Signed requests to one bucket; for s3_store.cpp, s3_multipart.cpp and doctor.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "object/s3/s3.h"
#include "object/s3/sigv4.h"

namespace thaw::s3 {

// How late the first byte of an answer usually is. Thread-safe.
class FirstByteTail {
 public:
  explicit FirstByteTail(std::chrono::milliseconds start) : start_(start) {}
  void add(std::chrono::microseconds time);
  // After so long an answer is later than nearly all before it.
  std::chrono::milliseconds hedge_after() const;

 private:
  static constexpr size_t kSamples = 64;
  const std::chrono::milliseconds start_;
  mutable std::mutex mutex_;
  std::vector<std::chrono::microseconds> samples_;  // a ring
  size_t next_ = 0;
};

// What may be spent on second requests: two, and 2% of all. Thread-safe.
class HedgeBudget {
 public:
  void count_request() { requests_.fetch_add(1, std::memory_order_relaxed); }
  bool take();
  uint64_t taken() const { return taken_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> requests_{0};
  std::atomic<uint64_t> taken_{0};
};

struct Call {
  std::string method = "GET";
  std::string name;  // the object's, without the store's prefix; with `bucket`: ignored
  bool bucket = false;
  Query query;
  std::vector<HttpHeader> headers;  // lower-case names
  Buffer body;
  std::optional<Digest> body_sha256;  // where the caller has it already
  size_t expected_bytes = 0;
  size_t most_bytes = 16 * 1024 * 1024;
  bool may_run_twice = false;
};

// Thread-safe.
class Exchange {
 public:
  Exchange(S3Options options, HttpClient& http, Credentialing* credentials, const WallClock& clock);

  // The server's answer, whatever its status. What has expired or is out of step with the server's
  // clock is mended once, and the call sent again.
  Result<HttpResponse> send(const Context& context, const Call& call);
  // "https://bucket.host/prefix"
  std::string describe() const;
  const S3Options& options() const { return options_; }
  // How far the server's clock is ahead of ours, as its last complaint told.
  std::chrono::nanoseconds clock_offset() const;

 private:
  Result<HttpResponse> send_once(const Context& context, const Call& call,
                                 const std::optional<Credentials>& credentials);
  std::string path_of(const Call& call) const;
  void correct_clock(const HttpResponse& response);

  const S3Options options_;
  HttpClient& http_;
  Credentialing* const credentials_;
  const WallClock& clock_;
  std::string scheme_;
  std::string host_;  // as in the Host header
  bool bucket_in_path_ = false;
  std::atomic<int64_t> clock_offset_ns_{0};
  FirstByteTail tail_;
  HedgeBudget hedges_;
};

// RFC 4648, with padding.
std::string base64(Bytes bytes);

// What a request that makes an object says of its encryption at rest.
void add_encryption(const S3Options& options, std::vector<HttpHeader>& headers);

// The error that an answer is which is no success.
Error error_of(const HttpResponse& response);

}  // namespace thaw::s3
