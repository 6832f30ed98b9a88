// What is mounted below a tree that merge or sync is about to change; for in_place.cpp.
#pragma once

#include <string>

#include "snapshot/in_place_plan.h"

namespace thaw {

// Code::busy, naming the mount point, when the plan would change, remove or link to anything at or
// below one: nothing can be renamed into it, and what is mounted is somebody else's. Other mounts
// below the target are no matter.
Result<> refuse_mounts_in_the_way(const InPlacePlan& plan, const Tree& wanted, const Scan& scan,
                                  const std::string& root_name);

}  // namespace thaw
