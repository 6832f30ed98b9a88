// What a command came to, and how that is told: an exit code, a JSON object, or text.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"

namespace thaw::cli {

// The lines of the contract's table of exit codes.
enum class Status {
  done,  // also unchanged
  failed,
  usage,     // wrong words or configuration
  miss,      // no such key or generation
  refused,   // empty, shrunken, busy, no room, lost a race
  disabled,  // advisory, and no store is named: nothing was touched
};

enum class Advice { binding, advisory };

// Under --advisory everything but wrong usage is 0.
int exit_code(Status status, Advice advice);

// The line on which an error of the engine stands. Code::not_found is `failed` here: only who asked
// for a key knows that its absence is a miss.
Status status_of(Code code);

using Fields = nlohmann::ordered_json;

// A plain value.
struct Outcome {
  Status status = Status::done;
  std::string reason;   // a Code's name, or disabled, miss, unchanged, empty, shrunken; empty: done
  std::string message;  // what went wrong, for people
  std::string hint;     // what to do about it
  Fields fields = Fields::object();  // for --json
  std::string summary;               // for people: what was done; --quiet leaves it out
  std::string listing;               // for people: what was asked for
  int answer = 0;  // the exit code of `done`: 1 for `diff --exit-code` that found differences
};

Outcome failure(const Error& error);
Outcome wrong_usage(std::string message, std::string hint = "");
Outcome miss(std::string message, std::string hint = "");

int exit_code(const Outcome& outcome, Advice advice);

// The object that --json prints, with its newline. What is not UTF-8 is replaced by U+FFFD.
std::string as_json(const Outcome& outcome, std::chrono::milliseconds took);

}  // namespace thaw::cli
