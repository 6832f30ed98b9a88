// One HTTP exchange on a curl handle; for http_client.cpp alone.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <string>

#include "object/s3/http.h"

namespace thaw::s3 {

// Set up with a request, driven by a multi handle, asked for its answer. One thread at a time;
// stays where it is while curl holds it.
class CurlTransfer {
 public:
  // `shared` (may be null) and `options` outlive it.
  CurlTransfer(const HttpOptions& options, CURLSH* shared);
  CurlTransfer(const CurlTransfer&) = delete;
  CurlTransfer& operator=(const CurlTransfer&) = delete;

  // Forgets the last exchange and prepares for this one. The request outlives it.
  Result<> prepare(const HttpRequest& request);
  CURL* handle() const { return easy_.get(); }

  // A byte of the answer proper has come.
  bool answered() const { return response_.status != 0; }
  int status() const { return response_.status; }
  Context::Clock::time_point last_activity() const { return last_activity_; }

  // What it came to, once curl is done with it.
  Result<HttpResponse> finish(CURLcode code);

 private:
  struct EasyCleanup {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  };
  struct ListCleanup {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };

  static size_t on_header(char* data, size_t size, size_t count, void* self);
  static size_t on_body(char* data, size_t size, size_t count, void* self);
  static size_t on_read(char* data, size_t size, size_t count, void* self);
  static int on_seek(void* self, curl_off_t offset, int origin);
  size_t take_header(std::string_view line);
  size_t take_body(Bytes bytes);
  void set_method();
  bool is_enough();
  Error error_of(CURLcode code) const;

  const HttpOptions& options_;
  CURLSH* const shared_;
  const std::unique_ptr<CURL, EasyCleanup> easy_;
  std::unique_ptr<curl_slist, ListCleanup> headers_;
  const HttpRequest* request_ = nullptr;
  HttpResponse response_;
  Context::Clock::time_point began_;
  Context::Clock::time_point last_activity_;
  size_t sent_ = 0;
  size_t header_bytes_ = 0;
  bool too_large_ = false;
  bool enough_ = false;  // the caller wants no more of it
  bool headers_complete_ = false;
  char text_[CURL_ERROR_SIZE] = {};
};

// The URL without query, for messages.
std::string without_query(const std::string& url);

}  // namespace thaw::s3
