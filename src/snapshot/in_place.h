// Merge and sync: an existing tree is made to hold a snapshot, touching only what differs.
#pragma once

#include <string>

#include "base/context.h"
#include "format/manifest.h"
#include "object/store.h"
#include "snapshot/restore.h"
#include "snapshot/stage.h"
#include "snapshot/tree_writer.h"

namespace thaw {

struct InPlaceTotals {
  WriteTotals written;
  uint64_t removed = 0;
};

// `target` exists. New contents are fetched and verified into a staging folder first: until all are
// there, nothing in the target is touched; then each file is renamed into place whole.
Result<InPlaceTotals> restore_in_place(const Context& context, ObjectStore& store,
                                       const Manifest& manifest, const TargetPlace& target,
                                       const RestoreRequest& request, Progress* progress);

}  // namespace thaw
