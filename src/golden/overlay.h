// Overlay clones: a mount whose lower layer is a generation, and whose writes lie apart.
#pragma once

#include <string>

#include "base/context.h"
#include "golden/place.h"

namespace thaw::golden {

// What the mount of a clone is called in /proc/self/mountinfo.
std::string overlay_source(const std::string& id);
bool overlay_is_mounted(const std::string& id);

// Mounts a generation's tree on the empty folder `target`, with the upper layer of clone `id`,
// which is made when it is not there. `unavailable` where such a mount is not to be had here: the
// caller falls back, and says the message.
Result<> mount_overlay(const Place& place, uint64_t generation, const std::string& id,
                       const std::string& target);

// `busy` names who is in it; never lazily.
Result<> unmount_overlay(const std::string& target);

// Removes the upper layer, which is not mounted.
Result<> remove_overlay(const Context& context, const Place& place, const std::string& id);

}  // namespace thaw::golden
