// Which extended attributes of an archive a filesystem could ever have. Pure.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "format/tree.h"

namespace thaw::archive {

// Code::corrupt, naming the attribute, for a value that no kernel sets, on whatever filesystem: of
// more than 64 KiB, or capabilities or an access list that are malformed. A tree that had it could
// never be restored. Precondition: a save keeps attributes of these names.
Result<> check_attributes(const XattrSet& xattrs);

// Takes away attributes that nothing of the type in `mode` can have on any filesystem: "user.*" on
// what is neither file nor folder, access lists on links, default ones on what is no folder.
// Answers how many.
uint32_t drop_impossible(XattrSet& xattrs, uint32_t mode);

}  // namespace thaw::archive
