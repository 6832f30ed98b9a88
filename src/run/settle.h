// Settling: waiting until nobody changes a tree any more.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/result.h"

namespace thaw::run {

enum class Settled {
  quiet,    // nothing changed for so long
  hurried,  // `hurry` was set first
};

// Looks at all names, sizes and times below `paths` again and again, until they were the same for
// `quiet`. What is not there counts as empty. An error only when the context ends.
Result<Settled> settle(const Context& context, const StopFlag& hurry,
                       const std::vector<std::string>& paths, std::chrono::milliseconds quiet);

}  // namespace thaw::run
