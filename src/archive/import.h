// Import: an archive becomes the next generation of a key, without a tree on disk in between.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "archive/block_pipe.h"
#include "archive/decompress.h"
#include "archive/walk.h"
#include "base/context.h"
#include "format/key.h"
#include "format/record.h"
#include "object/store.h"
#include "snapshot/policy.h"
#include "snapshot/progress.h"
#include "snapshot/save.h"
#include "snapshot/transfer.h"

namespace thaw::archive {

struct ImportRequest {
  BlockStream source;
  Key key;
  WalkOptions walk{};
  Labels labels{};
  Policy policy{};
  UnchangedBy unchanged_by = UnchangedBy::all;
  std::optional<std::string> damage_dir{};  // of KnownDamage: what counts as missing
  int compression_level = 3;
  unsigned threads = 1;
  StoreDistance distance = StoreDistance::local;
};

struct ImportReport {
  SaveOutcome outcome = SaveOutcome::saved;
  uint64_t generation = 0;
  TreeIds ids{};
  TreeTotals totals{};
  Compression compression = Compression::none;
  uint64_t fetched_bytes = 0;       // of the archive
  uint64_t passed_over = 0;         // as of WalkTotals
  uint64_t attributes_skipped = 0;  // that no save would keep
  uint64_t stored_bytes = 0;        // all frames that the snapshot needs
  uint64_t new_bytes = 0;           // frames that this import wrote
};

// As a save of the tree that the archive holds: it has the same ids, is published once and only
// when all is durable, and Policy judges it, here when it has been read. A failure, a refusal or an
// equal tree leaves nothing visible, and what was put is taken away again. Errors: not_found (there
// is no archive), corrupt (the archive, or an entry of it, which is named), exhausted (a cap of
// MetadataBudget or of format/limits.h, and where one entry is too much it is named), busy (the
// lease ran out), and what the source and the store answer. `progress` may be null.
Result<ImportReport> import_archive(const Context& context, ObjectStore& store,
                                    const ImportRequest& request, Progress* progress);

}  // namespace thaw::archive
