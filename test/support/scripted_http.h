// An HTTP client that answers as the test's script says.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "object/s3/http.h"

namespace thaw::test {

// A request as it was sent.
struct Asked {
  s3::HttpRequest request;
  std::optional<std::chrono::milliseconds> time_left;  // of its context, when it was sent

  std::string what() const { return request.method + " " + request.url; }
  std::string body() const { return std::string(as_text(request.body.view())); }
  // The header's value; empty when there is none, or more than one.
  std::string header(std::string_view name) const;
};

// Thread-safe; the test keeps it and may change the script at any time. As the real client it
// refuses headers that cannot be sent, answers that are larger than asked for, and contexts that
// have ended.
class ScriptedHttp final : public s3::HttpClient {
 public:
  using Answer = std::function<Result<s3::HttpResponse>(const Context&, const s3::HttpRequest&)>;
  // From now on, requests of this method to this URL are answered so. May block.
  void on(const std::string& method, const std::string& url, Answer answer);
  void answer(const std::string& method, const std::string& url, int status, std::string body);
  void fail(const std::string& method, const std::string& url, Error error);
  // A request that the script does not know: Code::unavailable, as where nothing listens.

  std::vector<Asked> asked() const;
  // "PUT http://…", in their order.
  std::vector<std::string> lines() const;

  Result<s3::HttpResponse> send(const Context& context, const s3::HttpRequest& request) override;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, Answer> answers_;
  std::vector<Asked> asked_;
};

s3::HttpResponse http_response(int status, std::string_view body);

}  // namespace thaw::test
