#include "base/log.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>
#include <utility>

#include "base/log_sink.h"

namespace thaw::log {
namespace {

constexpr const char* kPattern = "thaw: %l: %v";

class CallingSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit CallingSink(Sink callee) : callee_(std::move(callee)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    callee_({line.data(), line.size()});
  }
  void flush_() override {}

  const Sink callee_;
};

spdlog::logger& logger() {
  // Leaked on purpose: threads may still log while static objects are destroyed.
  static spdlog::logger& one = *[] {
    auto* made = new spdlog::logger("thaw", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern(kPattern);
    made->set_level(spdlog::level::warn);
    made->flush_on(spdlog::level::warn);
    return made;
  }();
  return one;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warning:
      return spdlog::level::warn;
    case Level::error:
      return spdlog::level::err;
    case Level::off:
      return spdlog::level::off;
  }
  return spdlog::level::off;
}

}  // namespace

void send_to(Sink sink) {
  std::shared_ptr<spdlog::sinks::sink> made;
  if (sink)
    made = std::make_shared<CallingSink>(std::move(sink));
  else
    made = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  made->set_pattern(kPattern);
  logger().sinks() = {made};
}

void set_level(Level level) { logger().set_level(to_spdlog(level)); }
bool enabled(Level level) { return logger().should_log(to_spdlog(level)); }
void write(Level level, std::string_view line) {
  logger().log(to_spdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace thaw::log
