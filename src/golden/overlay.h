// Overlay clones: a mount whose lower layer is a generation, and whose writes lie apart.
#pragma once

#include <string>

#include "base/context.h"
#include "golden/place.h"

namespace thaw::golden {

// Whether clone `id` is mounted anywhere in this process's mount namespace.
bool overlay_is_mounted(const std::string& id);

// Mounts a generation's tree on the empty folder `target`, with the upper layer of clone `id`,
// which is made when it is not there. `unavailable` where such a mount is not to be had here: the
// caller falls back, and says the message.
Result<> mount_overlay(const Place& place, uint64_t generation, const std::string& id,
                       const std::string& target);

// Unmounts clone `id` from `target`, if it is mounted. `busy` where it is mounted elsewhere, too
// (a bind mount), where something is mounted over it, or where somebody is in it; never lazily.
Result<> unmount_overlay(const std::string& id, const std::string& target);

// `busy` where a mount of clone `id`, which is not mounted here, lives in another mount namespace.
Result<> check_overlay_is_free(const Place& place, uint64_t generation, const std::string& id);

// Removes the upper layer, which is not mounted.
Result<> remove_overlay(const Context& context, const Place& place, const std::string& id);

}  // namespace thaw::golden
