#include "run/paths.h"

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <system_error>

#include "base/task_group.h"

namespace thaw::run {
namespace {

using std::chrono::milliseconds;
using Clock = Context::Clock;

// Restores are parallel inside; more than these at once would only share the same link.
constexpr unsigned kPathsAtOnce = 4;
// Events go through a pipe in one piece (PIPE_BUF is 4096); a message may quote a long path.
constexpr size_t kMessageBytes = 1024;

int64_t ms_since(Clock::time_point began) {
  return std::chrono::duration_cast<milliseconds>(Clock::now() - began).count();
}

bool is_missing_or_empty(const std::string& path) {
  std::error_code fault;
  const auto status = std::filesystem::symlink_status(path, fault);
  if (status.type() == std::filesystem::file_type::not_found) return true;
  return status.type() == std::filesystem::file_type::directory &&
         std::filesystem::is_empty(path, fault) && !fault;
}

Event restored_event(const PathName& name, const RestoreReport& report) {
  Event event = event_of_path("restore", name, true);
  event["hit"] = report.hit == Hit::exact ? "exact" : "fallback";
  event["generation"] = report.generation;
  if (report.hit == Hit::fallback) event["found"] = report.key.text();
  event["snapshot"] = report.ids.snapshot.hex();
  event["files"] = report.totals.files;
  event["bytes"] = report.totals.bytes;
  event["fetched_bytes"] = report.fetched_bytes;
  return event;
}

Event restore_failed(const PathName& name, const Error& error, bool applied) {
  if (error.code() == Code::not_found && !applied) {
    Event event = failed_event("restore", name, "miss", error.text());
    event["hit"] = "miss";
    return event;
  }
  Event event =
      failed_event("restore", name, std::string(thaw::name_of(error.code())), error.text());
  if (applied) event["applied"] = true;
  return event;
}

// The snapshot, and where there is none, or none to be had, the archive.
Event restore_path(const Context& context, const OpenedPath& opened, const PathName& name,
                   Moment moment) {
  Event failed;
  RestoreMode mode = opened.restore ? opened.restore->mode : RestoreMode::replace;
  const bool late = moment == Moment::late;
  if (late && mode == RestoreMode::replace) mode = RestoreMode::merge;
  if (opened.store != nullptr && opened.restore) {
    RestoreRequest request = *opened.restore;
    request.mode = mode;
    request.only_into_empty = late && mode == RestoreMode::merge;
    RestoreTrace trace;
    const auto report = restore(context, *opened.store, request, nullptr, &trace);
    if (report) return restored_event(name, *report);
    failed = restore_failed(name, report.error(), trace.applied);
    if (trace.applied) return failed;
  }
  if (!opened.restore_archive) {
    if (!failed.is_null()) return failed;
    return failed_event("restore", name, "unsupported", "no snapshot is named, and no archive");
  }
  // An archive that is unpacked into a folder does not look at who fills it meanwhile.
  std::error_code fault;
  if (late && std::filesystem::symlink_status(name.path, fault).type() !=
                  std::filesystem::file_type::not_found) {
    return failed_event("restore", name, "late", "something is at the path: it stays as it is");
  }
  const auto archive = opened.restore_archive(context, mode);
  if (archive) {
    Event event = event_of_path("restore", name, true);
    event["hit"] = "archive";
    event["files"] = archive->files;
    event["bytes"] = archive->bytes;
    return event;
  }
  return failed.is_null() ? restore_failed(name, archive.error(), false) : failed;
}

using Tell = std::function<void(Event)>;

// Told before the store is closed: what its tiers are still to keep may take two seconds more.
void open_and_restore(const Context& process, const Context& context, const OpenPath& open,
                      size_t number, const PathName& name, Moment moment, const Tell& tell) {
  if (moment == Moment::late && !is_missing_or_empty(name.path)) {
    return tell(
        failed_event("restore", name, "late",
                     "COMMAND runs already, and something is at the path: it stays as it is"));
  }
  const auto opened = open(process, number);
  if (!opened) return tell(restore_failed(name, opened.error(), false));
  tell(restore_path(context, *opened, name, moment));
}

}  // namespace

Event event_of_path(const char* step, const PathName& name, bool ok) {
  return {{"event", step}, {"path", name.path}, {"key", name.key}, {"ok", ok}};
}

Event failed_event(const char* step, const PathName& name, const std::string& reason,
                   const std::string& message) {
  Event event = event_of_path(step, name, false);
  event["reason"] = reason;
  event["message"] = message.substr(0, kMessageBytes);
  return event;
}

void restore_paths(const WorkerCalls& calls, const OpenPath& open,
                   const std::vector<PathName>& names, milliseconds timeout, Moment moment) {
  const auto began = Clock::now();
  const Context bounded = calls.context.within(timeout);
  std::mutex telling;
  const auto threads = std::min<unsigned>(kPathsAtOnce, static_cast<unsigned>(names.size()));
  // A path that fails is an event, and stops no other.
  const Tell tell = [&](Event event) {
    event["ms"] = ms_since(began);
    const std::lock_guard lock(telling);
    calls.reporter.tell(event);
  };
  const auto done = parallel_for(
      calls.context, threads, names.size(), [&](const Context&, unsigned, size_t number) {
        open_and_restore(calls.context, bounded, open, number, names[number], moment, tell);
        return Result<>();
      });
  static_cast<void>(done.ok());
}

}  // namespace thaw::run
