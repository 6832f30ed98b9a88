// OpenSnapshots: the snapshots that a process has open, shared by all who ask for them.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "format/key.h"
#include "format/record.h"
#include "object/store.h"
#include "snapshot/chunk_cache.h"
#include "snapshot/flight.h"
#include "snapshot/reader.h"

namespace thaw {

struct OpenOptions {
  ReaderOptions reader{};
  // How long it stays decided which generation is KEY's newest, or that there is none. At most a
  // second, whatever is set.
  std::chrono::milliseconds decided_for{1000};
  // A snapshot that nobody holds is closed after this time, and the longest unused ones earlier
  // where more than this many are open.
  std::chrono::milliseconds idle_for{std::chrono::minutes(5)};
  size_t most_idle = 64;
};

// One part of a template: a file of a snapshot, or with an empty `file` the snapshot itself.
struct PartRequest {
  std::string name;  // "memory", for errors
  KeyRef ref;
  std::string file;
};
struct OpenPart {
  std::shared_ptr<SnapshotReader> reader;
  FileRef file{};
};

// Thread-safe. What it hands out is usable for as long as it is held, whatever is closed, removed
// or evicted meanwhile; it must be let go of before `store`, `cache` and `process` end. Whoever
// opens what another thread is opening waits for that, under its own context; when that fails, one
// of those who wait tries anew. Nothing is kept of a failure. Starts no thread: what is idle is
// closed by later calls.
class OpenSnapshots {
 public:
  OpenSnapshots(ObjectStore& store, ChunkCache& cache, OpenOptions options, const Context& process,
                const WallClock& clock = system_clock());

  // The generation that `ref` names, or the newest. not_found when there is none. KEY@N is not
  // asked for again while it is open.
  Result<std::shared_ptr<SnapshotReader>> open(const Context& context, const KeyRef& ref);
  // The snapshot of an entry.
  Result<std::shared_ptr<SnapshotReader>> open(const Context& context, const Entry& entry);
  // One that is open, by its snapshot id; null otherwise.
  std::shared_ptr<SnapshotReader> find(const Digest& snapshot);

  // Opens several at once. When one cannot be opened the others are cancelled, nothing is held, and
  // the error names the part. The answers are in the order of the requests.
  Result<std::vector<OpenPart>> open_parts(const Context& context,
                                           std::span<const PartRequest> parts);

  // Closes what has been idle for long enough at this instant.
  void sweep(Timestamp now);
  size_t open_count() const;

 private:
  using Handle = std::shared_ptr<SnapshotReader>;
  // Where a manifest lies: two snapshots of equal trees may lie differently, and one be damaged.
  using ManifestId = RandomId;
  struct Opened {
    Handle reader;
    Digest snapshot;
    Timestamp used;
  };
  struct Decided {
    std::optional<Entry> entry;
    Timestamp at;
  };

  static ManifestId manifest_id(const Entry& entry);
  Result<std::optional<Entry>> decide(const Context& context, const KeyRef& ref);
  std::optional<std::optional<Entry>> decided(const KeyRef& ref);
  Result<Handle> load(const Context& context, const Entry& entry);
  Handle take(const ManifestId& id);
  Result<OpenPart> open_part(const Context& context, const PartRequest& part);
  bool is_fresh(const Decided& decided, Timestamp now) const;
  void close_idle(Timestamp now, std::vector<Handle>& closed);

  ObjectStore& store_;
  ChunkCache& cache_;
  const OpenOptions options_;
  const Context& process_;
  const WallClock& clock_;
  Flights<std::string, std::optional<Entry>> deciding_;
  Flights<ManifestId, Handle> loading_;
  mutable std::mutex mutex_;
  std::map<std::string, Decided> decided_;  // by the reference's text
  std::map<ManifestId, Opened> opened_;
};

}  // namespace thaw
