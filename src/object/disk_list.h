// Listing a tree of files in the order of their names. Internal to the disk store.
#pragma once

#include <string_view>

#include "object/store.h"

namespace thaw::disk {

// ObjectStore::list below the folder `root`; `options` are checked. Reads each folder that may hold
// a wanted name once, and no other; holds one descriptor and one folder's names per level.
Result<ListPage> list_objects(const Context& context, int root, std::string_view prefix,
                              const ListOptions& options);

}  // namespace thaw::disk
