// What collectors have condemned: objects that nobody needed when they looked, and that go when
// they look again. See docs/gc.md.
#pragma once

#include <set>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "format/record.h"
#include "object/store.h"

namespace thaw {

struct CondemnedRecord {
  RandomId id;
  ObjectKey object;
  Timestamp put;  // by the store's clock
  // Empty when it cannot be read.
  std::optional<Condemned> content;
};

// All that are there, as listed; one that goes meanwhile is left out.
Result<std::vector<CondemnedRecord>> read_condemned(const Context& context, ObjectStore& store);

ObjectKey condemned_object(const RandomId& id);
// A collector's claim on a record: who puts it first is the only one that ever sweeps by the record
// or takes it away.
ObjectKey sweeping_object(const RandomId& record);

}  // namespace thaw
