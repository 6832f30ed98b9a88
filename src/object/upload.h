// Upload: an object of unknown length that is written as a stream and appears whole, or not at all.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/byte_budget.h"
#include "base/bytes.h"
#include "base/context.h"
#include "base/task_group.h"
#include "object/multipart.h"
#include "object/store.h"

namespace thaw {

// Parts are put beside one another while the next one is filled; in memory are at most
// kUploadBytes and the part that is filled. One thread at a time. The stores and the context
// outlive it.
class Upload {
 public:
  Upload(const Context& context, ObjectStore& store, MultipartStore& parts, ObjectKey key,
         unsigned uploads);
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;
  // Waits for what is on its way. Who has neither finished nor abandoned it leaves parts behind.
  ~Upload();

  // Fails with the first part's error once one failed. Code::exhausted beyond 10,000 parts.
  Result<> append(Bytes bytes);
  // The object is there, in the place of what was there, once this answers. What fits into one
  // part is put in one request. After an error, abandon() it.
  Result<> finish();
  // Takes away what was put. `farewell` is a context of its own, for the upload's may be over.
  // Idempotent.
  Result<> abandon(const Context& farewell);

  uint64_t appended_bytes() const { return appended_; }

 private:
  Result<> begin();
  Result<> send_part();
  Result<> failure();

  const Context& context_;
  ObjectStore& store_;
  MultipartStore& parts_;
  const ObjectKey key_;
  const unsigned uploads_;
  ByteBudget budget_;
  ByteVector part_;
  uint64_t appended_ = 0;
  uint32_t next_number_ = 1;
  std::optional<UploadId> upload_;
  std::mutex mutex_;  // guards uploaded_
  std::vector<UploadedPart> uploaded_;
  std::optional<TaskGroup> group_;  // last: its threads use what is above
};

}  // namespace thaw
