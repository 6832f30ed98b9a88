// Whether caches can be restored and saved at the same time: none of their targets may be, hold or
// lie in another one, or be or hold the home or the working directory. The case of ASCII letters
// does not count.
#pragma once

#include <optional>
#include <vector>

#include "base/error.h"
#include "base/result.h"
#include "cache/definition.h"
#include "cache/target.h"

namespace thaw::cache {

// By the paths alone, whatever links are here: what is wrong is the file's fault. Code::invalid
// names both targets, their caches and where they are written. Targets below a home that is not
// known are left out. Pure.
Result<> check_side_by_side(const std::vector<Definition>& caches, const Anchors& anchors);

// As the links lead that are here now: for each cache why it cannot be done beside those before it;
// Code::invalid names both targets.
std::vector<std::optional<Error>> blocked_by_links(const std::vector<Definition>& caches,
                                                   const Anchors& anchors);

}  // namespace thaw::cache
