// What is known of a directory without reading a file of it.
#pragma once

#include <optional>
#include <string>

#include "base/context.h"
#include "format/tree.h"

namespace thaw::cache {

// The ids that a save of the directory `path` would give it, if the stat cache in
// `stat_cache_dir` knows each of its files; empty where it does not, and where there is no such
// directory. Costs a listing. Errors: those of scan_tree() but not_found.
Result<std::optional<TreeIds>> known_ids(const Context& context, const std::string& path,
                                         const std::string& stat_cache_dir, unsigned threads);

// Whether anything but directories is at or below `path`; false where there is nothing.
bool holds_anything(const std::string& path);

}  // namespace thaw::cache
