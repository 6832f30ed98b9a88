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

// `target` exists. What is new is fetched, verified and made in a staging folder first: until all
// is there, nothing in the target is touched; then each name is renamed into place whole. `applied`
// is set when that begins, so an error tells whether the target is as it was. Waits for another
// restore of the target while the context lasts (`busy` then). What others change meanwhile is
// compared again, three times in all; then that is `busy` and named.
Result<InPlaceTotals> restore_in_place(const Context& context, ObjectStore& store,
                                       const Manifest& manifest, const TargetPlace& target,
                                       const RestoreRequest& request, Progress* progress,
                                       bool& applied);

}  // namespace thaw
