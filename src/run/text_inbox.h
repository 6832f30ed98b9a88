// A text that arrives on a descriptor, some day.
#pragma once

#include <optional>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace thaw::run {

// Collects one JSON object without waiting. One thread.
class TextInbox {
 public:
  // A file, or "fd:N" (which COMMAND does not inherit then).
  static Result<TextInbox> open(const std::string& source);

  int fd() const { return fd_.get(); }
  // Called when fd() is readable: the whole text once the writer has closed its end, a whole object
  // has come, or nothing that may follow would make one. Code::exhausted when it is larger than 1
  // MiB.
  Result<std::optional<std::string>> take();

 private:
  TextInbox(UniqueFd fd, std::string source) : fd_(std::move(fd)), source_(std::move(source)) {}

  UniqueFd fd_;
  std::string source_;
  std::string text_;
  size_t next_look_ = 1;  // whether it is broken is looked for again when it has so many bytes
};

}  // namespace thaw::run
