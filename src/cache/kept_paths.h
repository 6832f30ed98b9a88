// Targets that no restore may replace: the store, thaw's cache directory, and what holds them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "snapshot/restore.h"

namespace thaw::cache {

// Code::invalid names what would be replaced. A save asks too: what it stored would never come
// back. Thread-safe.
Result<> refuse_what_is_kept(const std::string& path, const std::vector<ProtectedPath>& kept);

}  // namespace thaw::cache
