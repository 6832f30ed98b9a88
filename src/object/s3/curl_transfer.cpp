#include "object/s3/curl_transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>

namespace thaw::s3 {
namespace {

constexpr size_t kHeaderBytes = 64 * 1024;
constexpr size_t kErrorBodyBytes = 64 * 1024;
// Fewer, larger pieces: at 16 KiB, curl's default, a fifth of a download's time goes into calls.
constexpr long kReceiveBytes = 256 * 1024;
constexpr long kSendBytes = 256 * 1024;

bool is_plain(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f;
  });
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

template <class T>
void set(CURL* easy, CURLoption option, T value) {
  // Every option and value here is fixed or checked: what fails is memory, and the exchange says
  // so.
  (void)curl_easy_setopt(easy, option, value);
}

}  // namespace

std::string without_query(const std::string& url) { return url.substr(0, url.find('?')); }

CurlTransfer::CurlTransfer(const HttpOptions& options, CURLSH* shared)
    : options_(options), shared_(shared), easy_(curl_easy_init()) {}

Result<> CurlTransfer::prepare(const HttpRequest& request) {
  if (easy_ == nullptr) return Error(Code::exhausted, "no memory for a connection");
  if (!is_plain(request.url)) return Error(Code::invalid, "a URL with control characters");
  CURL* easy = easy_.get();
  curl_easy_reset(easy);  // keeps the connections
  request_ = &request;
  response_ = HttpResponse();
  sent_ = 0;
  header_bytes_ = 0;
  too_large_ = false;
  enough_ = false;
  headers_complete_ = false;
  text_[0] = '\0';
  began_ = last_activity_ = Context::Clock::now();

  curl_slist* list = nullptr;
  auto append = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(list, line.c_str());
    if (longer != nullptr) list = longer;
    return longer != nullptr;
  };
  // Waiting for "100 Continue" costs a round trip on every upload.
  bool complete = append("Expect:");
  for (const HttpHeader& header : request.headers) {
    if (!is_plain(header.name) || !is_plain(header.value)) {
      curl_slist_free_all(list);
      return Error(Code::invalid, "a header with control characters: " + header.name);
    }
    // curl drops a header without a value unless it ends in a semicolon.
    complete = complete &&
               append(header.value.empty() ? header.name + ";" : header.name + ": " + header.value);
  }
  headers_.reset(list);
  if (!complete) return Error(Code::exhausted, "no memory for a request");

  set(easy, CURLOPT_URL, request.url.c_str());
  set(easy, CURLOPT_PATH_AS_IS, 1L);
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  set(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(easy, CURLOPT_HTTPHEADER, headers_.get());
  set(easy, CURLOPT_NOSIGNAL, 1L);
  // Else the end of an exchange waits for a name server that does not answer.
  set(easy, CURLOPT_QUICK_EXIT, 1L);
  set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout.count()));
  set(easy, CURLOPT_BUFFERSIZE, kReceiveBytes);
  set(easy, CURLOPT_ERRORBUFFER, text_);
  set(easy, CURLOPT_HEADERFUNCTION, &CurlTransfer::on_header);
  set(easy, CURLOPT_HEADERDATA, this);
  set(easy, CURLOPT_WRITEFUNCTION, &CurlTransfer::on_body);
  set(easy, CURLOPT_WRITEDATA, this);
  set(easy, CURLOPT_SHARE, shared_);
  if (!options_.ca_file.empty()) set(easy, CURLOPT_CAINFO, options_.ca_file.c_str());
  if (request.route == HttpRequest::Route::direct) set(easy, CURLOPT_PROXY, "");
  set_method();
  return {};
}

void CurlTransfer::set_method() {
  CURL* easy = easy_.get();
  const std::string& method = request_->method;
  if (method == "HEAD") {
    set(easy, CURLOPT_NOBODY, 1L);
  } else if (method == "PUT" || method == "POST") {
    set(easy, CURLOPT_UPLOAD, 1L);
    set(easy, CURLOPT_CUSTOMREQUEST, method.c_str());
    set(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request_->body.size()));
    set(easy, CURLOPT_UPLOAD_BUFFERSIZE, kSendBytes);
    set(easy, CURLOPT_READFUNCTION, &CurlTransfer::on_read);
    set(easy, CURLOPT_READDATA, this);
    set(easy, CURLOPT_SEEKFUNCTION, &CurlTransfer::on_seek);
    set(easy, CURLOPT_SEEKDATA, this);
  } else if (method != "GET") {
    set(easy, CURLOPT_CUSTOMREQUEST, method.c_str());
  }
}

size_t CurlTransfer::on_header(char* data, size_t size, size_t count, void* self) {
  return static_cast<CurlTransfer*>(self)->take_header({data, size * count});
}

// The answers of a proxy to CONNECT, and "100 Continue", come before the one that counts.
size_t CurlTransfer::take_header(std::string_view line) {
  last_activity_ = Context::Clock::now();
  header_bytes_ += line.size();
  if (header_bytes_ > kHeaderBytes) {
    too_large_ = true;
    return 0;
  }
  const size_t whole = line.size();
  if (line.starts_with("HTTP/")) {
    int status = 0;
    const size_t space = line.find(' ');
    if (space != std::string_view::npos) {
      std::from_chars(line.data() + space + 1, line.data() + line.size(), status);
    }
    const bool interim = status >= 100 && status < 200;
    response_.headers.clear();
    response_.status = interim ? 0 : status;
    if (response_.first_byte.count() == 0) {
      response_.first_byte =
          std::chrono::duration_cast<std::chrono::microseconds>(last_activity_ - began_);
    }
    return whole;
  }
  if (trimmed(line).empty()) {
    headers_complete_ = response_.status != 0;
    return headers_complete_ && is_enough() ? 0 : whole;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return whole;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  response_.headers.push_back({std::move(name), std::string(trimmed(line.substr(colon + 1)))});
  return whole;
}

size_t CurlTransfer::on_body(char* data, size_t size, size_t count, void* self) {
  return static_cast<CurlTransfer*>(self)->take_body(
      as_bytes(std::string_view(data, size * count)));
}

size_t CurlTransfer::take_body(Bytes bytes) {
  last_activity_ = Context::Clock::now();
  if (response_.status >= 300) {
    const size_t room = kErrorBodyBytes - std::min(response_.body.size(), kErrorBodyBytes);
    response_.body.append(bytes.first(std::min(bytes.size(), room)));
    return is_enough() ? 0 : bytes.size();
  }
  if (bytes.size() > request_->most_bytes - response_.body.size()) {
    too_large_ = true;
    return 0;
  }
  if (response_.body.capacity() == 0) {
    response_.body.reserve(std::min(request_->expected_bytes, request_->most_bytes));
  }
  response_.body.append(bytes);
  return is_enough() ? 0 : bytes.size();
}

bool CurlTransfer::is_enough() {
  enough_ = request_->enough && request_->enough(response_);
  return enough_;
}

size_t CurlTransfer::on_read(char* data, size_t size, size_t count, void* self) {
  auto& transfer = *static_cast<CurlTransfer*>(self);
  transfer.last_activity_ = Context::Clock::now();
  const Bytes rest = transfer.request_->body.view().subspan(transfer.sent_);
  const size_t n = std::min(rest.size(), size * count);
  if (n != 0) std::memcpy(data, rest.data(), n);
  transfer.sent_ += n;
  return n;
}

// curl sends a body again when a kept connection turns out to be closed.
int CurlTransfer::on_seek(void* self, curl_off_t offset, int origin) {
  auto& transfer = *static_cast<CurlTransfer*>(self);
  if (origin != SEEK_SET || offset < 0 ||
      static_cast<uint64_t>(offset) > transfer.request_->body.size()) {
    return CURL_SEEKFUNC_FAIL;
  }
  transfer.sent_ = static_cast<size_t>(offset);
  return CURL_SEEKFUNC_OK;
}

Result<HttpResponse> CurlTransfer::finish(CURLcode code) {
  if (enough_) return std::move(response_);
  // curl takes an answer that is cut off within its headers for a whole one.
  if (code == CURLE_OK && headers_complete_) return std::move(response_);
  if (code == CURLE_OK && response_.status != 0) {
    return Error(Code::unavailable, "the answer ended within its headers");
  }
  return error_of(code);
}

Error CurlTransfer::error_of(CURLcode code) const {
  if (too_large_) return {Code::exhausted, "the answer is larger than it may be"};
  const std::string why = text_[0] != '\0' ? text_ : curl_easy_strerror(code);
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
      return {Code::denied, "the server's certificate is not trusted: " + why};
    case CURLE_SSL_CACERT_BADFILE:
      return {Code::invalid, "the file of certificate authorities cannot be used: " + why};
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return {Code::invalid, why};
    case CURLE_OUT_OF_MEMORY:
      return {Code::exhausted, why};
    case CURLE_PARTIAL_FILE:
      return {Code::unavailable, "the answer ended early: " + why};
    case CURLE_OPERATION_TIMEDOUT:
      return {Code::unavailable,
              fmt::format("no connection within {} ms", options_.connect_timeout.count())};
    case CURLE_OK:
      return {Code::unavailable, "no HTTP answer"};
    default:
      return {Code::unavailable, why};
  }
}

}  // namespace thaw::s3
