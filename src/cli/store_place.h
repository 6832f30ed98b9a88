// Where things are, to compare them: two spellings of one place are one text.
#pragma once

#include <string>

#include "app/config.h"
#include "app/locations.h"
#include "base/result.h"

namespace thaw::cli {

// As far as it exists, without symbolic links, also of a link that leads to nothing yet.
std::string resolved_path(const std::string& path);

// The store of a configuration: a directory as resolved_path() says it, a bucket as it is written.
// Code::invalid where it cannot be one. Opens nothing.
Result<std::string> store_place(const Config& config, const Locations& locations);

}  // namespace thaw::cli
