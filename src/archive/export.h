// Export: a snapshot becomes an archive, the same bytes every time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "archive/archive_sink.h"
#include "archive/compress.h"
#include "base/context.h"
#include "format/key.h"
#include "format/tree.h"
#include "object/store.h"
#include "snapshot/progress.h"
#include "snapshot/transfer.h"

namespace thaw::archive {

struct ExportRequest {
  KeyRef ref;
  std::string prefix;  // as PutRequest's
  Format format = Format::tar_zst;
  std::optional<int> level{};
  std::optional<std::string> damage_dir{};  // of KnownDamage: where damage is remembered
  unsigned threads = 1;
  StoreDistance distance = StoreDistance::local;
};

struct ExportReport {
  uint64_t generation = 0;
  TreeIds ids{};
  TreeTotals totals{};
  uint64_t stored_bytes = 0;  // of the archive
};

// The archive is a pure function of the snapshot's tree, prefix, format and level. Every byte was
// verified before it goes into it. The sink is finished when all of it is there, and abandoned in
// any other case. Errors: not_found (no such snapshot), corrupt (names the object), and what store
// and sink answer. `progress` may be null.
Result<ExportReport> export_snapshot(const Context& context, ObjectStore& store,
                                     const ExportRequest& request, ArchiveSink& sink,
                                     Progress* progress);

}  // namespace thaw::archive
