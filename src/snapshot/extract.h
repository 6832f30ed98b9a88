// Extract: one file of a snapshot becomes a file.
#pragma once

#include <cstdint>
#include <string>

#include "base/context.h"
#include "format/manifest.h"
#include "object/store.h"
#include "snapshot/known_damage.h"
#include "snapshot/progress.h"
#include "snapshot/reader.h"
#include "snapshot/transfer.h"

namespace thaw {

struct ExtractOptions {
  bool owners = true;  // only root can give files away; others extract as themselves
  bool xattrs = true;
  unsigned threads = 1;
  StoreDistance distance = StoreDistance::local;
};

struct ExtractReport {
  uint64_t size_bytes = 0;     // of the file
  uint64_t written_bytes = 0;  // of data; the rest is holes
  uint64_t fetched_bytes = 0;
  uint64_t fetches = 0;
  uint64_t attributes_skipped = 0;  // could not be set (not root, or not supported)
};

// Writes the file to `path`, which is what it was, or the whole new file, at every moment, also
// when the process is killed. Where it is a link to a file, that file is replaced. Holes stay
// holes; mode, owner, time and attributes are the snapshot's. All that is written was verified.
// Errors: invalid (`path` is a directory or a special file, or has no folder to lie in; `file` is
// of another snapshot), corrupt (names the object), denied, exhausted, and what the store answers.
// `damage` is where damage is remembered; `progress` may be null.
Result<ExtractReport> extract(const Context& context, ObjectStore& store, const Manifest& manifest,
                              FileRef file, const std::string& path, const ExtractOptions& options,
                              const KnownDamage& damage, Progress* progress);

}  // namespace thaw
