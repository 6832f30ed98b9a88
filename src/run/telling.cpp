#include "run/telling.h"

#include <chrono>
#include <utility>

#include "base/log.h"
#include "base/log_sink.h"

namespace thaw::run {

Telling::Telling(const std::optional<std::string>& events, bool verbose,
                 Context::Clock::time_point began)
    : verbose_(verbose), began_(began) {
  if (auto opened = EventSink::open("fd:2")) {
    lines_.emplace(*std::move(opened));
    log::send_to([this](std::string_view line) {
      if (lines_) lines_->write_text(line);
    });
  }
  if (!events) return;
  auto opened = EventSink::open(*events);
  if (opened)
    events_.emplace(*std::move(opened));
  else
    log::write(log::Level::error, "run: no events: " + opened.error().text());
}

Telling::~Telling() { log::send_to({}); }

void Telling::emit(Event event) {
  using std::chrono::milliseconds;
  event["at_ms"] = std::chrono::duration_cast<milliseconds>(Context::Clock::now() - began_).count();
  if (verbose_) log::info("run: {}", as_text(event));
  if (events_) events_->write(std::move(event));
}

void Telling::ask(std::vector<struct pollfd>& asked) const {
  for (const auto* sink : {&events_, &lines_}) {
    if (*sink && (*sink)->waiting()) asked.push_back({(*sink)->fd(), POLLOUT, 0});
  }
}

void Telling::flush() {
  for (auto* sink : {&events_, &lines_}) {
    if (*sink && (*sink)->waiting()) (*sink)->flush();
  }
}

void Telling::leave_standard_error() {
  if (!verbose_) lines_.reset();
}

}  // namespace thaw::run
