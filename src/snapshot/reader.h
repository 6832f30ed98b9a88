// SnapshotReader: any range of any file of a snapshot, without restoring it.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "format/manifest.h"
#include "object/store.h"
#include "snapshot/chunk_cache.h"
#include "snapshot/frame_fetch.h"
#include "snapshot/known_damage.h"
#include "snapshot/path_index.h"
#include "snapshot/transfer.h"

namespace thaw {

// A run of a file that holds data; what lies between is zeros.
struct DataRun {
  uint64_t offset = 0;
  uint64_t length = 0;
  bool operator==(const DataRun&) const = default;
};

struct ReaderOptions {
  StoreDistance distance = StoreDistance::local;
  unsigned threads = 1;                 // that fetch and decode ahead of a reader
  bool read_ahead = true;               // when reads of a file follow one another
  const KnownDamage* damage = nullptr;  // where damage that is met is remembered; outlives readers
  // Shared by the readers of a process, whom it bounds together, and outlives them. Null: one of
  // the reader's own, as the distance suggests.
  FetchAllowance* allowance = nullptr;
};

// Thread-safe. Owned by shared_ptr: whoever holds one can read, whatever is evicted or closed
// meanwhile. Every byte that it answers was verified against the manifest's digests.
class SnapshotReader {
 public:
  virtual ~SnapshotReader() = default;

  virtual const Manifest& manifest() const = 0;
  // As PathIndex::find_file.
  virtual Result<FileRef> find_file(std::string_view path) const = 0;
  // Fills `into` from `offset` on; fewer bytes only at the file's end. Code::invalid past the end.
  // What lies in memory is answered without a look at the context. After an error `into` holds
  // anything.
  // Each chunk is fetched once however many readers wait for it; each waits under its own context.
  // One whose fetch fails or is cancelled does not fail the others: one of them takes over.
  // A chunk that does not match its digest is fetched once more, past all tiers.
  virtual Result<size_t> read_at(const Context& context, FileRef file, uint64_t offset,
                                 MutableBytes into) = 0;
  // Begins to fetch what a later read wants; best-effort, bounded, returns at once. Of more than
  // half the cache it fetches the first part.
  virtual void will_need(FileRef file, uint64_t offset, uint64_t length) = 0;
  // The runs of data within a range, ascending, joined where they touch.
  virtual std::vector<DataRun> extents(FileRef file, uint64_t offset, uint64_t length) const = 0;
};

// `store`, `cache` and `process` (the context of what is fetched ahead) outlive the reader.
// Whoever lets go of the last handle waits for what is being fetched ahead to notice.
std::shared_ptr<SnapshotReader> open_reader(ObjectStore& store, Manifest manifest,
                                            ChunkCache& cache, ReaderOptions options,
                                            const Context& process);

}  // namespace thaw
