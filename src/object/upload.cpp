#include "object/upload.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

namespace thaw {
namespace {

constexpr uint64_t kMiB = 1024 * 1024;
// A server takes 10,000 parts of an object and no part (but the last) below 5 MiB. So parts grow as
// there are more of them: 8 GB go in parts of 8 MiB, and the last part makes up 500 GB.
constexpr uint32_t kMostParts = 10'000;
constexpr uint64_t kFirstPartBytes = 8 * kMiB;
constexpr uint64_t kLargestPartBytes = 64 * kMiB;
constexpr uint32_t kPartsOfOneLength = 1'000;
// On their way at once.
constexpr uint64_t kUploadBytes = 64 * kMiB;

// For the answer to the beginning of an upload once its work is over: while nobody knows the
// upload's number, nobody can abort it. Somebody who stops it has more patience than a time limit.
constexpr std::chrono::milliseconds kAnswerWhenStopped{2000};
constexpr std::chrono::milliseconds kAnswerWhenLate{120};

uint64_t part_bytes(uint32_t number) {
  return std::min(kFirstPartBytes << std::min<uint32_t>(number / kPartsOfOneLength, 8),
                  kLargestPartBytes);
}

}  // namespace

Upload::Upload(const Context& context, ObjectStore& store, MultipartStore& parts, ObjectKey key,
               unsigned uploads)
    : context_(context),
      store_(store),
      parts_(parts),
      key_(std::move(key)),
      uploads_(std::max(uploads, 1U)),
      budget_(kUploadBytes) {}

Upload::~Upload() {
  if (group_) group_->stop_and_join();
}

Result<> Upload::failure() {
  if (!group_) return {};
  if (auto error = group_->failure()) return *std::move(error);
  return {};
}

Result<> Upload::append(Bytes bytes) {
  appended_ += bytes.size();
  while (!bytes.empty()) {
    const uint64_t full = part_bytes(next_number_);
    if (part_.capacity() < full) part_.reserve(full);
    const size_t room = std::min<uint64_t>(full - part_.size(), bytes.size());
    part_.append(bytes.first(room));
    bytes = bytes.subspan(room);
    // A full part waits until it is known that there is more: an object of one part is one put.
    if (part_.size() == full && (!bytes.empty() || upload_)) THAW_CHECK(send_part());
  }
  return failure();
}

// Under a context of its own: see kAnswerWhenStopped.
Result<> Upload::begin() {
  const Context root;
  std::mutex mutex;
  std::condition_variable answered;
  bool done = false;
  TaskGroup asking(root, 1, 1);
  asking.submit([&](const Context& inner) -> Result<> {
    auto upload = parts_.begin(inner, key_);
    const std::lock_guard lock(mutex);
    done = true;
    answered.notify_all();
    if (!upload) return std::move(upload).error();
    upload_ = *std::move(upload);
    return {};
  });
  std::optional<Context::Clock::time_point> end;
  std::unique_lock lock(mutex);
  while (!done) {
    const auto alive = context_.alive();
    if (!alive && !end) {
      const bool stopped = alive.error().code() == Code::cancelled;
      end = Context::Clock::now() + (stopped ? kAnswerWhenStopped : kAnswerWhenLate);
    }
    if (end && Context::Clock::now() >= *end) break;
    // Neither a stop flag nor a deadline signals the condition.
    answered.wait_for(lock, std::chrono::milliseconds(20));
  }
  const bool known = done;
  lock.unlock();
  if (known) {
    THAW_CHECK(asking.wait());
  } else {
    asking.stop_and_join();
  }
  return context_.alive().within("begin the upload of " + key_.text());
}

Result<> Upload::send_part() {
  if (next_number_ > kMostParts) {
    return Error(Code::exhausted, key_.text() + " is larger than 10,000 parts can hold");
  }
  if (!upload_) {
    THAW_CHECK(begin());
    group_.emplace(context_, uploads_, uploads_);
  }
  auto room = budget_.reserve(group_->context(), part_.size());
  THAW_CHECK(failure());
  if (!room) return std::move(room).error();
  // std::function wants what can be copied.
  auto held = std::make_shared<ByteBudget::Reservation>(*std::move(room));
  group_->submit(
      [this, held, number = next_number_, bytes = Buffer(std::exchange(part_, ByteVector()))](
          const Context& inner) mutable -> Result<> {
        THAW_ASSIGN(UploadedPart part,
                    parts_.put_part(inner, key_, *upload_, number, std::move(bytes)));
        const std::lock_guard lock(mutex_);
        uploaded_.push_back(std::move(part));
        return {};
      });
  ++next_number_;
  return {};
}

Result<> Upload::finish() {
  if (!upload_) {
    THAW_ASSIGN(const PutOutcome outcome,
                store_.put(context_, key_, Buffer(std::move(part_)), PutMode::overwrite));
    static_cast<void>(outcome);
    return {};
  }
  if (!part_.empty()) THAW_CHECK(send_part());
  THAW_CHECK(group_->wait());
  std::sort(uploaded_.begin(), uploaded_.end(),
            [](const UploadedPart& a, const UploadedPart& b) { return a.number < b.number; });
  THAW_CHECK(parts_.complete(context_, key_, *upload_, uploaded_));
  upload_.reset();
  return {};
}

Result<> Upload::abandon(const Context& farewell) {
  part_ = ByteVector();
  // First: a part that arrives after the abort would stay.
  if (group_) group_->stop_and_join();
  if (!upload_) return {};
  const UploadId upload = *std::exchange(upload_, std::nullopt);
  return parts_.abort(farewell, key_, upload);
}

}  // namespace thaw
