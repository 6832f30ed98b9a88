// Errors are values: a code for programs, a message for people, and the chain of what was being
// done.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace thaw {

// What went wrong, as far as a caller can act on it. An HTTP status or an errno becomes a Code
// once, in the backend that saw it.
enum class Code {
  not_found,    // there is no such thing (key, object, file)
  exists,       // it is there already and was not to be replaced
  invalid,      // the caller's words are wrong: a malformed key, range, option
  denied,       // permission refused
  corrupt,      // bytes do not match their digest, or break their format
  busy,         // somebody else is using or changing it; later may work
  unavailable,  // the service or device does not answer as it should; later may work
  timeout,      // the deadline passed
  exhausted,    // no room: disk, memory, descriptors, or a cap of the format
  cancelled,    // stopped on request
  internal,     // a fault of thaw or of the kernel that fits nothing above
};

// The code's stable name, as it stands in JSON results ("not_found").
std::string_view name_of(Code code);

// A value type; copies are deep and cheap enough for error paths.
class [[nodiscard]] Error {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  Code code() const { return code_; }
  // The innermost message, without contexts.
  const std::string& message() const { return message_; }
  // Outermost context first, joined by ": ", then the message.
  std::string text() const;
  // Whether the same call may succeed later without anyone acting on it.
  bool retryable() const { return code_ == Code::busy || code_ == Code::unavailable; }

  // When the other side asks to be left alone for so long: a retry before that is futile.
  std::optional<std::chrono::milliseconds> retry_after() const { return retry_after_; }
  Error after(std::chrono::milliseconds time) &&;

  // Adds one phrase that says what was being done ("put pack 3f…").
  Error within(std::string phrase) &&;

 private:
  Code code_;
  std::string message_;
  std::vector<std::string> contexts_;  // innermost first
  std::optional<std::chrono::milliseconds> retry_after_;
};

// The error for a failed system call: `what` ("open /x/y") and errno's own text.
// Maps ENOENT, EEXIST, EACCES, ENOSPC and their like to codes; all else is internal.
Error errno_error(int errno_value, std::string_view what);

}  // namespace thaw
