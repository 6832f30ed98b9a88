#include "cli/detach.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/log.h"
#include "cli/store_place.h"
#include "format/checksum.h"
#include "run/command.h"
#include "run/worker.h"

namespace thaw::cli {
namespace {

// Held by the open file, so that the process that goes on has it, and its caller's end changes
// nothing.
Result<UniqueFd> lock_key(const std::string& key, const Config& config,
                          const Locations& locations) {
  THAW_ASSIGN(const std::string store, store_place(config, locations));
  const std::string folder = locations.stat_cache + "/detached";
  const std::string what = store + '\0' + key;
  auto opened = make_directories(folder).ok()
                    ? open_path(fmt::format("{}/{:016x}.lock", folder, checksum64(as_bytes(what))),
                                O_RDWR | O_CREAT, 0600)
                    : Result<UniqueFd>(Error(Code::denied, folder + " cannot be made"));
  if (!opened) {
    log::warn("no lock keeps a second save of {} from being begun: {}", key, opened.error().text());
    return UniqueFd();
  }
  UniqueFd fd = *std::move(opened);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno == EWOULDBLOCK)
    return Error(Code::busy, "a detached save of " + key + " is under way already");
  return errno_error(errno, "lock " + folder);
}

// Until the other process is out of reach of what may befall this one, or is gone.
void wait_for_end(int pipe) {
  char nothing = 0;
  while (::read(pipe, &nothing, 1) < 0 && errno == EINTR) continue;
}

}  // namespace

Result<Detachment> Detachment::begin(const std::string& key,
                                     const std::optional<std::string>& events, const Config& config,
                                     const Locations& locations) {
  Detachment made;
  THAW_ASSIGN(made.lock_, lock_key(key, config, locations));
  if (events) {
    THAW_ASSIGN(made.events_, run::EventSink::open(*events).within("--events"));
  }
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  UniqueFd waiting(ends[0]);
  UniqueFd parting(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return errno_error(errno, "fork");
  if (child > 0) {
    parting.reset();
    wait_for_end(waiting.get());
    Outcome& outcome = made.answer_.emplace();
    outcome.fields["key"] = key;
    outcome.fields["detached"] = true;
    outcome.fields["pid"] = child;
    outcome.summary = fmt::format("saving {} in process {}\n", key, child);
    return made;
  }
  ::setsid();
  run::give_up_inherited_descriptors(run::StandardError::given_up);
  run::take_low_priority();
  parting.reset();
  if (made.events_) {
    made.events_->write({{"event", "started"}, {"key", key}, {"pid", ::getpid()}});
  }
  return made;
}

void Detachment::tell(const Outcome& outcome, std::chrono::milliseconds took) {
  if (!events_) return;
  run::Event event = {{"event", "save"}, {"ok", outcome.status == Status::done}};
  event["reason"] = outcome.reason.empty() ? "saved" : outcome.reason;
  if (!outcome.message.empty()) event["message"] = outcome.message;
  event["ms"] = took.count();
  event.update(outcome.fields);
  events_->write(std::move(event));
}

}  // namespace thaw::cli
