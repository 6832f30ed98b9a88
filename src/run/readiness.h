// Readiness: when COMMAND has made of its paths what the next start wants to find.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include "base/context.h"
#include "base/result.h"

namespace thaw::run {

// A plain value: one condition.
struct Readiness {
  enum class Kind {
    never,   // nothing is saved
    http,    // a URL answers
    tcp,     // HOST:PORT takes a connection
    file,    // a file is there that was not there, or was another one, when COMMAND started
    fd,      // COMMAND writes a line to descriptor `number`
    notify,  // COMMAND sends READY=1 to NOTIFY_SOCKET
    exit,    // COMMAND ends with exit code 0
    after,   // it has run for so long
  };
  Kind kind = Kind::never;
  std::string target;         // of http, tcp, file
  std::optional<int> status;  // of http; empty: any from 200 to 399
  std::string body_pattern;   // of http: POSIX extended, found anywhere; empty: any body
  int number = -1;            // of fd
  std::chrono::milliseconds after{};
};

// Whether a worker looks for it, again and again.
bool is_probed(Readiness::Kind kind);
const char* name_of(Readiness::Kind kind);

// Code::invalid when its words are none: a URL that is not http, a pattern, a place.
Result<> check_readiness(const Readiness& readiness);

// Which file has a name at a moment; empty: none.
using FileMark = std::optional<std::tuple<dev_t, ino_t, int64_t, int64_t>>;
FileMark mark_of(const std::string& path);

// Whether it waits for a file below the absolute `path`.
bool awaits_file_below(const Readiness& readiness, const std::string& path);

// Looks until it is ready; an error only when the context ends. Each look is bounded in time, and
// a body in bytes (1 MiB). `before` is the mark of a file when COMMAND started. Starts threads.
Result<> wait_until_ready(const Context& context, const Readiness& readiness,
                          const FileMark& before);

}  // namespace thaw::run
