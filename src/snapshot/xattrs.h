// Extended attributes, ACLs among them, of files and links.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "format/tree.h"

namespace thaw {

// All attributes of an open file or folder; empty where the filesystem has none. Those that
// nobody can set back (the kernel's own "system.nfs4_acl" views, "security.selinux" labels of the
// host's policy) are left out.
Result<XattrSet> read_xattrs(int fd, const std::string& name);
// Of a link, FIFO or device, which is not opened: `path` leads to it through /proc/self/fd.
Result<XattrSet> read_xattrs_of_link(const std::string& path);

// Makes the attributes equal to `set`. Answers how many could not be set for want of privilege or
// of support by the filesystem; other failures are errors.
Result<size_t> write_xattrs(int fd, const XattrSet& set, const std::string& name);
Result<size_t> write_xattrs_of_link(const std::string& path, const XattrSet& set);

// Whether a save keeps attributes of that name, and a restore sets them.
bool is_kept_attribute(std::string_view name);

// "/proc/self/fd/<folder>/<name>": reaches a name below an open folder in calls that take only
// paths.
std::string proc_path(int folder, const std::string& name);

}  // namespace thaw
