// A directory as an object store: an object is a file below it.
#pragma once

#include <memory>
#include <string>

#include "object/store.h"

namespace thaw {

enum class Durability {
  full,  // fsync of the file and of its folder before a put answers
  none,  // leaves it to the kernel: for tiers and tests that may lose what they hold
};

// The store below `root`, which is created at the first put. Safe between processes on one machine,
// and between machines where the filesystem's link(2) and rename(2) are atomic.
// Writes go to `root/.tmp/` first; what a crash leaves there is removed by a later put once it is a
// day old. `.tmp` is no object name. Symbolic links below root are not followed. A name cannot lie
// below another object's ("a/b" below "a"): a put of the later one is Code::invalid. Folders that a
// removal leaves empty are removed as well.
Result<std::unique_ptr<ObjectStore>> open_disk_store(std::string root,
                                                     Durability durability = Durability::full);

}  // namespace thaw
