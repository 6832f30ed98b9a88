// The paths of a start, and their restore before COMMAND; save_paths.h has what is behind it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "run/worker.h"
#include "snapshot/restore.h"
#include "snapshot/save.h"

namespace thaw::run {

// How a path is named in events.
struct PathName {
  std::string path;
  std::string key;  // as it was written
};

// What an archive brought.
struct ArchiveRestored {
  uint64_t files = 0;
  uint64_t bytes = 0;
};

// What a path stands on. The store and the requests outlive its use; `owner` keeps them.
struct OpenedPath {
  std::shared_ptr<void> owner;
  ObjectStore* store = nullptr;             // null: there is no snapshot, but an archive
  std::optional<RestoreRequest> restore{};  // with `store`
  std::optional<SaveRequest> save{};        // likewise
  // Makes the path from the archive that is asked for where no snapshot is to be had. Empty: there
  // is none. As restore(): the target is whole or untouched. Errors: not_found (no such archive).
  std::function<Result<ArchiveRestored>(const Context&, RestoreMode)> restore_archive{};
};

// Opens the path of that number for a worker; `process` outlives what is opened. Thread-safe.
using OpenPath = std::function<Result<OpenedPath>(const Context& process, size_t number)>;

// Before COMMAND runs its tree is replaced in one step. Late, it runs already: then only what is
// missing or empty is restored, in place, so that nothing of COMMAND's is moved or removed.
enum class Moment { before_command, late };

// All paths at once, each told of in an event "restore". `timeout` bounds them together.
void restore_paths(const WorkerCalls& calls, const OpenPath& open,
                   const std::vector<PathName>& names, std::chrono::milliseconds timeout,
                   Moment moment);

// The event of a step about a path: "event", "path", "key", "ok".
Event event_of_path(const char* step, const PathName& name, bool ok);
// With "reason" and "message".
Event failed_event(const char* step, const PathName& name, const std::string& reason,
                   const std::string& message);

}  // namespace thaw::run
