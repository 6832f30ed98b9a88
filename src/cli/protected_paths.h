// Places that no command takes over as a whole.
#pragma once

#include <vector>

#include "cli/command.h"
#include "snapshot/restore.h"

namespace thaw::cli {

// The root and home directories, the working directory, and thaw's own places.
std::vector<ProtectedPath> protected_paths(const Session& session);

}  // namespace thaw::cli
