// What a message shows of a name that an archive chose.
#pragma once

#include <string>

namespace thaw::archive {

// Printable, and of at most 200 bytes. Cannot fail; thread-safe.
std::string shown(const std::string& name);

}  // namespace thaw::archive
