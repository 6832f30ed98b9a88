// Subvolumes of btrfs: folders that can be snapshotted in constant time.
#pragma once

#include <optional>
#include <string>

#include "base/context.h"
#include "base/result.h"

namespace thaw::golden {

// Whether subvolumes can be made in the open folder.
bool is_on_btrfs(int folder);
// The same for a path; false where it cannot be looked at.
bool is_on_btrfs(const std::string& path);

struct SubvolumeIds {
  std::string uuid;         // 32 hexadecimal digits
  std::string parent_uuid;  // of what it is a snapshot; zeros: of nothing
};
// Empty for what is no subvolume. Links are not followed.
std::optional<SubvolumeIds> subvolume_at(const std::string& path);

// An empty subvolume (mode 0755 & ~umask) called `name` in the open folder `at`.
Result<> make_subvolume(int at, const std::string& name);

// A writable snapshot of the subvolume `source`, called `name`, in the open folder `at`: whole when
// it is there. `unavailable` where that cannot be (another filesystem, no permission); exists.
Result<> snapshot_subvolume(const std::string& source, int at, const std::string& name);

// Nobody writes into a read-only subvolume, nor moves it to another folder.
Result<> set_read_only(const std::string& subvolume, bool read_only);

// Removes the subvolume `name` in the open folder `at`; in one step where the filesystem lets this
// user do so, else file by file. What is not there is no error. `busy` where there are subvolumes
// in it.
Result<> remove_subvolume(const Context& context, int at, const std::string& name);

// Removes what is called `name`, with all subvolumes in it: a folder of thaw's own. Nothing that is
// mounted is entered.
Result<> remove_with_subvolumes(const Context& context, int at, const std::string& name);

}  // namespace thaw::golden
