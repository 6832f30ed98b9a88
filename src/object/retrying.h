// The only place that retries.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "object/multipart.h"
#include "object/store.h"

namespace thaw {

// Exponential backoff with full jitter (each wait is uniform in [0, base * 2^n], capped): see
// "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. Always inside the context's
// deadline: a wait that would pass it is not begun and the last error is returned.
struct RetryPolicy {
  unsigned attempts = 5;
  std::chrono::milliseconds base_ms{250};
  std::chrono::milliseconds cap_ms{2000};
  // A server may ask for a longer wait (Retry-After): up to this it is waited for.
  std::chrono::milliseconds longest_asked_ms{20000};
};

// Retries errors that are retryable(). A create-only put whose answer was lost may have taken
// effect: its retry then answers `exists`, and the caller tells by the nonce in the object whose it
// is.
std::unique_ptr<ObjectStore> retrying(std::unique_ptr<ObjectStore> store, RetryPolicy policy = {});

// The same for uploads in parts. Each call may be sent twice: a part again is the same part, and
// complete() tells by the upload's nonce that it was done. An upload whose begin() was answered to
// nobody holds no parts.
std::unique_ptr<MultipartStore> retrying(std::unique_ptr<MultipartStore> store,
                                         RetryPolicy policy = {});

// The same with a wait of the caller's own, for tests: it answers an error to end the retries.
// Called from any thread.
using RetryWait = std::function<Result<>(const Context&, std::chrono::milliseconds)>;
std::unique_ptr<ObjectStore> retrying(std::unique_ptr<ObjectStore> store, RetryPolicy policy,
                                      RetryWait wait);

}  // namespace thaw
