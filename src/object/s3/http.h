// HTTP for the S3 backend and its credentials: one exchange, bounded in time and in bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/context.h"
#include "base/result.h"

namespace thaw::s3 {

struct HttpHeader {
  std::string name;  // lower case
  std::string value;
};

// A second request on another connection when no byte of the answer has come after so long; the
// first answer counts ("The Tail at Scale", Dean and Barroso, 2013).
struct Hedge {
  std::chrono::milliseconds after{0};
  std::function<bool()> allowed;  // asked when the time has come; called at most once
};

struct HttpResponse;

// A plain value. Text in it is sent as it is: the caller encodes.
struct HttpRequest {
  std::string method = "GET";
  std::string url;  // http:// or https://, without user or password
  std::vector<HttpHeader> headers;
  Buffer body;                           // PUT and POST send it, empty or not
  size_t expected_bytes = 0;             // of the answer's body, to reserve; 0: not known
  size_t most_bytes = 16 * 1024 * 1024;  // a longer answer's body is an error
  enum class Route { environment, direct };
  Route route = Route::environment;  // direct: no proxy, for addresses of this machine's host
  // Asked with the beginning of the body, whenever more of it has come, once with nothing when the
  // headers are there: true ends the exchange, and the answer holds that beginning. Empty: the
  // whole body is waited for.
  std::function<bool(const HttpResponse&)> enough{};
  // Only for requests that may run twice.
  std::optional<Hedge> hedge;
};

struct HttpResponse {
  int status = 0;
  std::vector<HttpHeader> headers;
  ByteVector body;
  std::chrono::microseconds first_byte{0};  // from the start to the first byte of the answer
  bool hedged = false;                      // a second request was sent

  // The first header of that (lower-case) name; empty when there is none.
  std::string_view header(std::string_view name) const;
};

struct HttpOptions {
  std::chrono::milliseconds connect_timeout{5000};  // resolving, connecting, TLS
  std::chrono::milliseconds stall_timeout{10000};   // without a byte in either direction
  std::string ca_file;                              // PEM; empty: the system's authorities
};

// Thread-safe and blocking. Answers whatever status the server sent; errors are about the way
// there:
//   unavailable  connecting, TLS, a reset, a stall, an answer that ends early: may work later
//   denied       the server's certificate is not trusted
//   invalid      a URL or header that cannot be sent
//   exhausted    an answer larger than request.most_bytes
//   timeout, cancelled  the context ended, whatever the other side does (also in name resolution)
// Redirects are answers, never followed. Error texts name the URL without its query.
class HttpClient {
 public:
  virtual ~HttpClient() = default;
  virtual Result<HttpResponse> send(const Context& context, const HttpRequest& request) = 0;
};

// Over libcurl, with kept-alive connections. Proxy variables (https_proxy, no_proxy, …) count.
std::unique_ptr<HttpClient> make_http_client(HttpOptions options);

}  // namespace thaw::s3
