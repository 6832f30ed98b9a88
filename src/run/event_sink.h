// Events: what a start did, one JSON object a line, for whoever watches it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace thaw::run {

using Event = nlohmann::ordered_json;

// As one line; what is not UTF-8 is replaced by U+FFFD.
std::string as_line(const Event& event);
// For people: the step, and what is known of it.
std::string as_text(const Event& event);

// Where events go. Nothing here ever waits: what a full pipe does not take is kept, up to 64 KiB,
// and tried again; beyond that events are dropped whole, and the next one that is taken says how
// many ("dropped"). What a reader of a closed pipe would have got is dropped too. One thread.
class EventSink {
 public:
  // "fd:N" (which COMMAND does not inherit then) or a file, which is made or appended to; a FIFO
  // needs its reader.
  static Result<EventSink> open(const std::string& target);

  void write(Event event);
  // A line for people, with its end.
  void write_text(std::string_view line);
  // Gives away what was kept, as far as it is taken. `fd()` is to be watched while `waiting()`.
  void flush();
  bool waiting() const { return !pending_.empty() && fd_.valid(); }
  int fd() const { return fd_.get(); }

 private:
  // How bytes are written without waiting, whoever else has this open file.
  enum class Kind { reopened, socket, shared };

  EventSink(UniqueFd fd, Kind kind) : fd_(std::move(fd)), kind_(kind) {}
  // Whole, or counted as dropped.
  void append(const std::string& line);
  // As write(2).
  ssize_t write_some(const char* data, size_t size) const;

  UniqueFd fd_;
  Kind kind_;
  std::string pending_;
  uint64_t dropped_ = 0;
};

// The number in "fd:N"; Code::invalid when it is none.
Result<int> descriptor_number(const std::string& text);
inline bool names_descriptor(const std::string& text) { return text.starts_with("fd:"); }

}  // namespace thaw::run
