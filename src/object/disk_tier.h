// A directory as a tier. See docs/format.md, "Blocks of tiers".
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "object/block_claims.h"
#include "object/store.h"

namespace thaw {

// What remembers the last uses of a directory's blocks lies beside them, under this name.
constexpr std::string_view kTierIndexName = "index.sqlite";
bool is_tier_index_name(std::string_view name);

struct DiskTier {
  std::unique_ptr<ObjectStore> store;
  // By byte-range locks that the kernel ends with their process. For all processes of one machine
  // (and, on network filesystems, of those that share their locks).
  std::unique_ptr<BlockClaims> claims;
};

// Opens a directory as a tier. One that is missing or empty is left as it is, and becomes a tier at
// the first claim or fill; "lost+found" does not count. Refused (Code::invalid) are a directory
// that holds anything else (but for an index) and no marker, a tier of another format, and what is
// no directory. A tier that lost its marker, and nothing but blocks is left, is still one. Nothing
// is evicted (block_cache drops what would pass its max_bytes).
Result<DiskTier> open_disk_tier(std::string directory);

}  // namespace thaw
