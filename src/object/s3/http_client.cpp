#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <mutex>

#include "object/s3/curl_transfer.h"

namespace thaw::s3 {
namespace {

using Clock = Context::Clock;
using std::chrono::milliseconds;

// Stop flags wake nobody, so waits look at them now and then.
constexpr milliseconds kStep{50};

// Names and TLS sessions, shared by all lanes: every further connection begins faster.
class SharedState {
 public:
  SharedState() : handle_(curl_share_init()) {
    if (handle_ == nullptr) return;
    (void)curl_share_setopt(handle_, CURLSHOPT_LOCKFUNC, &SharedState::lock);
    (void)curl_share_setopt(handle_, CURLSHOPT_UNLOCKFUNC, &SharedState::unlock);
    (void)curl_share_setopt(handle_, CURLSHOPT_USERDATA, this);
    (void)curl_share_setopt(handle_, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    (void)curl_share_setopt(handle_, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
  }
  ~SharedState() {
    if (handle_ != nullptr) (void)curl_share_cleanup(handle_);
  }
  SharedState(const SharedState&) = delete;
  SharedState& operator=(const SharedState&) = delete;
  CURLSH* handle() const { return handle_; }

 private:
  static void lock(CURL*, curl_lock_data data, curl_lock_access, void* self) {
    static_cast<SharedState*>(self)->mutexes_[data].lock();
  }
  static void unlock(CURL*, curl_lock_data data, void* self) {
    static_cast<SharedState*>(self)->mutexes_[data].unlock();
  }

  std::array<std::mutex, CURL_LOCK_DATA_LAST> mutexes_;
  CURLSH* const handle_;
};

// One exchange at a time, with its own kept connections: two, for a hedged request.
class Lane {
 public:
  Lane(const HttpOptions& options, CURLSH* shared)
      : options_(options),
        multi_(curl_multi_init()),
        first_(options, shared),
        second_(options, shared) {}
  ~Lane() {
    detach(first_);
    detach(second_);
    if (multi_ != nullptr) (void)curl_multi_cleanup(multi_);
  }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  Result<HttpResponse> send(const Context& context, const HttpRequest& request) {
    if (multi_ == nullptr) return Error(Code::exhausted, "no memory for a connection");
    failure_.reset();
    hedged_ = false;
    asked_ = false;
    began_ = Clock::now();
    THAW_CHECK(attach(first_, request));
    auto result = drive(context, request);
    detach(first_);
    detach(second_);
    if (result && came_before(*result)) {
      broken_ = true;
      return Error(Code::unavailable, "the answer to an earlier request came a second time");
    }
    return result;
  }

  // Its connections are not to be used again: what comes on them may belong to other requests.
  bool broken() const { return broken_; }

 private:
  Result<> attach(CurlTransfer& transfer, const HttpRequest& request) {
    THAW_CHECK(transfer.prepare(request));
    if (curl_multi_add_handle(multi_, transfer.handle()) != CURLM_OK) {
      return Error(Code::exhausted, "no memory for a connection");
    }
    attached(transfer) = true;
    return {};
  }

  void detach(CurlTransfer& transfer) {
    if (!attached(transfer)) return;
    (void)curl_multi_remove_handle(multi_, transfer.handle());
    attached(transfer) = false;
  }

  bool& attached(const CurlTransfer& transfer) {
    return &transfer == &first_ ? first_attached_ : second_attached_;
  }

  Result<HttpResponse> drive(const Context& context, const HttpRequest& request) {
    while (true) {
      THAW_CHECK(context.alive());
      int running = 0;
      if (curl_multi_perform(multi_, &running) != CURLM_OK) {
        return Error(Code::internal, "the HTTP library failed");
      }
      while (auto done = take_done(request)) {
        if (*done) {
          (*done)->hedged = hedged_;
          return *std::move(*done);
        }
        // With a second request on its way the first one's failure is not the end.
        if (!failure_) failure_ = std::move(*done).error();
      }
      if (!first_attached_ && !second_attached_) return *std::move(failure_);
      THAW_CHECK(look_for_stalls());
      drop_the_slower();
      THAW_CHECK(hedge(request));
      (void)curl_multi_poll(multi_, nullptr, 0, static_cast<int>(pause(context, request).count()),
                            nullptr);
    }
  }

  // A server or proxy that answers twice would have every further answer on the connection taken
  // for that of the next request. S3 servers give each answer a name of its own.
  bool came_before(const HttpResponse& response) {
    std::string id(response.header("x-amz-request-id"));
    if (id.empty()) return false;
    const bool known = std::find(ids_.begin(), ids_.end(), id) != ids_.end();
    ids_[next_id_++ % ids_.size()] = std::move(id);
    return known;
  }

  // More came than the answer, and it is no TLS record, which may be anything.
  static bool left_over(const CurlTransfer& transfer, const HttpRequest& request) {
    if (!request.url.starts_with("http://")) return false;
    curl_socket_t socket = CURL_SOCKET_BAD;
    (void)curl_easy_getinfo(transfer.handle(), CURLINFO_ACTIVESOCKET, &socket);
    char byte = 0;
    return socket != CURL_SOCKET_BAD && ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
  }

  // The answer or error of a transfer that is over; empty while none is.
  std::optional<Result<HttpResponse>> take_done(const HttpRequest& request) {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CurlTransfer& transfer = message->easy_handle == first_.handle() ? first_ : second_;
      const CURLcode code = message->data.result;
      auto result = transfer.finish(code);
      broken_ = broken_ || left_over(transfer, request);
      detach(transfer);
      return result;
    }
    return std::nullopt;
  }

  Result<> look_for_stalls() {
    const auto now = Clock::now();
    for (CurlTransfer* transfer : {&first_, &second_}) {
      if (!attached(*transfer) || now - transfer->last_activity() < options_.stall_timeout)
        continue;
      detach(*transfer);
      if (!failure_) {
        failure_ = Error(Code::unavailable,
                         fmt::format("nothing came for {} ms", options_.stall_timeout.count()));
      }
    }
    if (!first_attached_ && !second_attached_) return *failure_;
    return {};
  }

  // The first answer counts, unless it is a server's error and another may come.
  void drop_the_slower() {
    if (!first_attached_ || !second_attached_) return;
    const auto good = [](const CurlTransfer& each) {
      return each.answered() && each.status() < 500;
    };
    if (good(first_)) {
      detach(second_);
    } else if (good(second_)) {
      detach(first_);
    }
  }

  Result<> hedge(const HttpRequest& request) {
    if (asked_ || !request.hedge || !first_attached_ || first_.answered()) return {};
    if (Clock::now() - began_ < request.hedge->after) return {};
    asked_ = true;
    if (!request.hedge->allowed()) return {};
    hedged_ = true;
    return attach(second_, request);
  }

  milliseconds pause(const Context& context, const HttpRequest& request) const {
    milliseconds time = kStep;
    if (const auto left = context.remaining()) time = std::min(time, *left);
    if (request.hedge && !asked_) {
      const auto left =
          std::chrono::ceil<milliseconds>(began_ + request.hedge->after - Clock::now());
      time = std::clamp(left, milliseconds(0), time);
    }
    // A deadline within this millisecond: without a pause the loop would spin.
    return std::max(time, milliseconds(1));
  }

  const HttpOptions& options_;
  CURLM* const multi_;
  CurlTransfer first_;
  CurlTransfer second_;
  bool first_attached_ = false;
  bool second_attached_ = false;
  bool asked_ = false;  // whether a second request may be sent
  bool hedged_ = false;
  bool broken_ = false;
  std::array<std::string, 4> ids_;  // of the last answers
  size_t next_id_ = 0;
  std::optional<Error> failure_;
  Clock::time_point began_;
};

class CurlClient final : public HttpClient {
 public:
  explicit CurlClient(HttpOptions options) : options_(std::move(options)) {}

  Result<HttpResponse> send(const Context& context, const HttpRequest& request) override {
    std::unique_ptr<Lane> lane = take();
    auto result = lane->send(context, request);
    if (!lane->broken()) give_back(std::move(lane));
    return std::move(result).within(request.method + " " + without_query(request.url));
  }

 private:
  // The lane that was used last has the warmest connection.
  std::unique_ptr<Lane> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        auto lane = std::move(idle_.back());
        idle_.pop_back();
        return lane;
      }
    }
    return std::make_unique<Lane>(options_, shared_.handle());
  }

  void give_back(std::unique_ptr<Lane> lane) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(lane));
  }

  const HttpOptions options_;
  SharedState shared_;  // before the lanes, which use it to their end
  std::mutex mutex_;
  std::vector<std::unique_ptr<Lane>> idle_;
};

// Once a process, and never undone: other threads may still be inside.
bool library_is_ready() {
  static const bool ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  return ready;
}

class NoClient final : public HttpClient {
 public:
  Result<HttpResponse> send(const Context&, const HttpRequest&) override {
    return Error(Code::internal, "the HTTP library cannot be initialised");
  }
};

}  // namespace

std::string_view HttpResponse::header(std::string_view name) const {
  for (const HttpHeader& each : headers) {
    if (each.name == name) return each.value;
  }
  return {};
}

std::unique_ptr<HttpClient> make_http_client(HttpOptions options) {
  if (!library_is_ready()) return std::make_unique<NoClient>();
  return std::make_unique<CurlClient>(std::move(options));
}

}  // namespace thaw::s3
