// Settling: waiting until nobody changes a tree any more.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/result.h"
#include "snapshot/glob.h"

namespace thaw::run {

// What is at a path at a moment: another one means that a name, a size, an inode or a time is
// another. Empty: it changed while it was looked at. What is not there, or may not be seen, has one
// too.
using Mark = std::optional<uint64_t>;

// Looks at what is at `path`, or where a link leads to from there, without what `left_out` matches.
// An error only when the context ends.
Result<Mark> mark_tree(const Context& context, const std::string& path, const Globs& left_out);

// A plain value.
struct SettleRequest {
  std::vector<std::string> paths{};
  Globs left_out{};
  std::chrono::milliseconds quiet{};
  // Nothing is quiet while this process is stopped: it did not finish, it sleeps. 0: nobody.
  pid_t command = 0;
};

struct Settled {
  bool hurried = false;       // `hurry` was set before it was quiet
  std::vector<Mark> marks{};  // what was there all that time, of each path; when it was not hurried
};

// Looks at all names, sizes and times below the paths again and again, until they were the same for
// `quiet`. What is not there counts as empty. An error only when the context ends.
Result<Settled> settle(const Context& context, const StopFlag& hurry, const SettleRequest& request);

}  // namespace thaw::run
