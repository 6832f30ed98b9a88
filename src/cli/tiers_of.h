// What commands do to each tier of the configuration, one after the other.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "gc/invalidate.h"

namespace thaw::cli {

// Drops the objects from every tier, and tells so in `outcome`: a tier that fails does not stop the
// others, and makes the outcome failed. With --no-tiers, or without tiers, nothing.
void drop_from_tiers(const Session& session, const std::vector<ObjectKey>& objects,
                     const std::string& raw_prefix, Outcome& outcome);

}  // namespace thaw::cli
