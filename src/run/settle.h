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

// What does not count, since it is not saved either.
struct LeftOut {
  Globs globs{};                      // on paths below the directory
  std::vector<std::string> places{};  // absolute, without links: what is thaw's own
};

// Looks at what is at `path`, or where a link leads to from there. An error only when the context
// ends.
Result<Mark> mark_tree(const Context& context, const std::string& path, const LeftOut& left_out);

// A plain value.
struct SettleRequest {
  std::vector<std::string> paths{};
  LeftOut left_out{};
  std::chrono::milliseconds quiet{};
  // Nothing is quiet while this process is stopped: it did not finish, it sleeps. 0: nobody.
  pid_t command = 0;
};

struct Settled {
  bool hurried = false;       // `hurry` was set before it was quiet
  std::vector<Mark> marks{};  // of each path: what was there all that time, or just now
};

// Looks at all names, sizes and times below the paths again and again, until they were the same for
// `quiet`. What is not there counts as empty. An error only when the context ends.
Result<Settled> settle(const Context& context, const StopFlag& hurry, const SettleRequest& request);

}  // namespace thaw::run
