#include "support/scripted_http.h"

#include <algorithm>

namespace thaw::test {
namespace {

bool breaks_line(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos;
}

}  // namespace

std::string Asked::header(std::string_view name) const {
  std::string value;
  size_t found = 0;
  for (const s3::HttpHeader& header : request.headers) {
    if (header.name != name) continue;
    value = header.value;
    ++found;
  }
  return found == 1 ? value : "";
}

void ScriptedHttp::on(const std::string& method, const std::string& url, Answer answer) {
  const std::lock_guard lock(mutex_);
  answers_[{method, url}] = std::move(answer);
}

void ScriptedHttp::answer(const std::string& method, const std::string& url, int status,
                          std::string body) {
  on(method, url, [=](const Context&, const s3::HttpRequest&) -> Result<s3::HttpResponse> {
    return http_response(status, body);
  });
}

void ScriptedHttp::fail(const std::string& method, const std::string& url, Error error) {
  on(method, url,
     [=](const Context&, const s3::HttpRequest&) -> Result<s3::HttpResponse> { return error; });
}

std::vector<Asked> ScriptedHttp::asked() const {
  const std::lock_guard lock(mutex_);
  return asked_;
}

std::vector<std::string> ScriptedHttp::lines() const {
  std::vector<std::string> lines;
  for (const Asked& each : asked()) lines.push_back(each.what());
  return lines;
}

Result<s3::HttpResponse> ScriptedHttp::send(const Context& context,
                                            const s3::HttpRequest& request) {
  THAW_CHECK(context.alive());
  for (const s3::HttpHeader& header : request.headers) {
    if (breaks_line(header.name) || breaks_line(header.value)) {
      return Error(Code::invalid, "a header that cannot be sent");
    }
  }
  Answer answer;
  {
    const std::lock_guard lock(mutex_);
    asked_.push_back({request, context.remaining()});
    const auto found = answers_.find({request.method, request.url});
    if (found != answers_.end()) answer = found->second;
  }
  const std::string shown = request.url.substr(0, request.url.find('?'));
  if (!answer) return Error(Code::unavailable, "connect to " + shown + ": nothing listens");
  THAW_ASSIGN(s3::HttpResponse response, answer(context, request));
  if (response.body.size() > request.most_bytes) {
    return Error(Code::exhausted, shown + " answers more than was asked for");
  }
  return response;
}

s3::HttpResponse http_response(int status, std::string_view body) {
  s3::HttpResponse response;
  response.status = status;
  response.body.append(as_bytes(body));
  return response;
}

}  // namespace thaw::test
