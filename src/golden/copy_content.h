// Copying one file's bytes, by the cheapest way that the two filesystems have.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/context.h"
#include "base/result.h"

namespace thaw::golden {

// What was learned of the way from one place to another. Thread-safe; shared by the copies between
// the same two filesystems.
struct CopyWays {
  std::atomic<bool> reflink_works{true};  // until it is refused
  std::atomic<bool> range_works{true};
  std::atomic<uint64_t> reflinked{0};  // files
  std::atomic<uint64_t> copied{0};     // files with bytes that were not shared
};

// Makes the new, empty file `to` equal to the first `size_bytes` of `from`, holes included where
// `sparse` says that there are any. `scratch` is the caller's buffer, not empty.
Result<> copy_content(const Context& context, int from, int to, uint64_t size_bytes, bool sparse,
                      CopyWays& ways, MutableBytes scratch, const std::string& name);

}  // namespace thaw::golden
