#include "cli/outcome.h"

#include <utility>

namespace thaw::cli {

int exit_code(Status status, Advice advice) {
  if (status == Status::usage) return 2;
  if (advice == Advice::advisory) return 0;
  switch (status) {
    case Status::done:
    case Status::disabled:
      return 0;
    case Status::failed:
      return 1;
    case Status::usage:
      return 2;
    case Status::miss:
      return 3;
    case Status::refused:
      return 4;
  }
  return 1;
}

int exit_code(const Outcome& outcome, Advice advice) {
  // An answer that was asked for is no failure to be hushed up.
  if (outcome.status == Status::done) return outcome.answer;
  return exit_code(outcome.status, advice);
}

Status status_of(Code code) {
  switch (code) {
    case Code::invalid:
      return Status::usage;
    case Code::exists:
    case Code::busy:
    case Code::exhausted:
      return Status::refused;
    case Code::not_found:
    case Code::denied:
    case Code::corrupt:
    case Code::unavailable:
    case Code::timeout:
    case Code::cancelled:
    case Code::internal:
      return Status::failed;
  }
  return Status::failed;
}

Outcome failure(const Error& error) {
  Outcome outcome;
  outcome.status = status_of(error.code());
  outcome.reason = name_of(error.code());
  outcome.message = error.text();
  return outcome;
}

Outcome wrong_usage(std::string message, std::string hint) {
  Outcome outcome;
  outcome.status = Status::usage;
  outcome.reason = name_of(Code::invalid);
  outcome.message = std::move(message);
  outcome.hint = std::move(hint);
  return outcome;
}

Outcome miss(std::string message, std::string hint) {
  Outcome outcome;
  outcome.status = Status::miss;
  outcome.reason = "miss";
  outcome.message = std::move(message);
  outcome.hint = std::move(hint);
  return outcome;
}

std::string as_json(const Outcome& outcome, std::chrono::milliseconds took) {
  Fields object = {{"ok", outcome.status == Status::done}, {"ms", took.count()}};
  if (!outcome.reason.empty()) object["reason"] = outcome.reason;
  if (!outcome.message.empty()) object["message"] = outcome.message;
  if (!outcome.hint.empty()) object["hint"] = outcome.hint;
  object.update(outcome.fields);
  return object.dump(-1, ' ', false, Fields::error_handler_t::replace) + '\n';
}

}  // namespace thaw::cli
