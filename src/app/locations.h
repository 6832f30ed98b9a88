// Where thaw keeps its state on this machine: the XDG base directories.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/environment.h"

namespace thaw {

// Absolute paths; nothing says that they exist.
struct Locations {
  std::string store;                      // the embedded store
  std::string golden;                     // the golden root
  std::string stat_cache;                 // safe to delete at any time
  std::vector<std::string> config_files;  // the first that exists is read
  std::optional<std::string> home;
};

// From XDG_DATA_HOME, XDG_CACHE_HOME, XDG_CONFIG_HOME, HOME and THAW_GOLDEN_ROOT. A relative value
// counts as not set, as the XDG specification asks. With neither HOME nor the variable:
// /var/lib/thaw and /var/cache/thaw.
Locations locate(const Environment& environment);

}  // namespace thaw
