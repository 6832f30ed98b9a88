#include "snapshot/xattrs.h"

#include <fmt/format.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <functional>

#include "format/limits.h"

namespace thaw {
namespace {

// The same work by descriptor and by path.
struct Calls {
  std::function<ssize_t(char*, size_t)> list;
  std::function<ssize_t(const char*, void*, size_t)> get;
  std::function<int(const char*, const void*, size_t)> set;
  std::function<int(const char*)> remove;
};

Calls calls_for(int fd) {
  return {[fd](char* to, size_t n) { return ::flistxattr(fd, to, n); },
          [fd](const char* name, void* to, size_t n) { return ::fgetxattr(fd, name, to, n); },
          [fd](const char* name, const void* from, size_t n) {
            return ::fsetxattr(fd, name, from, n, 0);
          },
          [fd](const char* name) { return ::fremovexattr(fd, name); }};
}

Calls calls_for(const std::string& path) {
  return {[&path](char* to, size_t n) { return ::llistxattr(path.c_str(), to, n); },
          [&path](const char* name, void* to, size_t n) {
            return ::lgetxattr(path.c_str(), name, to, n);
          },
          [&path](const char* name, const void* from, size_t n) {
            return ::lsetxattr(path.c_str(), name, from, n, 0);
          },
          [&path](const char* name) { return ::lremovexattr(path.c_str(), name); }};
}

bool not_supported(int error) {
  return error == ENOTSUP || error == ENOSYS || error == EPERM || error == EACCES;
}

Result<std::vector<std::string>> list_names(const Calls& calls, const std::string& name) {
  std::string names(1024, '\0');
  while (true) {
    const ssize_t n = calls.list(names.data(), names.size());
    if (n >= 0) {
      names.resize(static_cast<size_t>(n));
      break;
    }
    if (not_supported(errno)) return std::vector<std::string>{};
    if (errno != ERANGE || names.size() > limits::kXattrBytes) {
      return errno_error(errno, "list attributes of " + name);
    }
    names.resize(names.size() * 4);
  }
  std::vector<std::string> all;
  for (size_t at = 0; at < names.size();) {
    std::string each(names.c_str() + at);
    at += each.size() + 1;
    if (is_kept_attribute(each)) all.push_back(std::move(each));
  }
  std::sort(all.begin(), all.end());
  return all;
}

Result<XattrSet> read_all(const Calls& calls, const std::string& name) {
  THAW_ASSIGN(const auto names, list_names(calls, name));
  XattrSet set;
  size_t bytes = 0;
  for (const std::string& each : names) {
    std::string value(256, '\0');
    ssize_t n = calls.get(each.c_str(), value.data(), value.size());
    if (n < 0 && errno == ERANGE) {
      value.resize(limits::kXattrBytes);
      n = calls.get(each.c_str(), value.data(), value.size());
    }
    if (n < 0 && errno == ENODATA) continue;  // removed meanwhile
    if (n < 0) return errno_error(errno, fmt::format("read attribute {} of {}", each, name));
    value.resize(static_cast<size_t>(n));
    bytes += each.size() + value.size();
    set.push_back({each, std::move(value)});
  }
  if (bytes > limits::kXattrBytes) {
    return Error(Code::exhausted, name + " has more than 128 KiB of extended attributes");
  }
  return set;
}

Result<size_t> write_all_of(const Calls& calls, const XattrSet& set, const std::string& name) {
  THAW_ASSIGN(const auto present, list_names(calls, name));
  size_t skipped = 0;
  for (const std::string& each : present) {
    const bool wanted =
        std::any_of(set.begin(), set.end(), [&](const Xattr& x) { return x.name == each; });
    if (wanted || calls.remove(each.c_str()) == 0 || errno == ENODATA) continue;
    if (!not_supported(errno))
      return errno_error(errno, fmt::format("remove attribute {} of {}", each, name));
    ++skipped;
  }
  for (const Xattr& xattr : set) {
    // Only what a save would have kept: a hostile manifest sets no "security.*" of its choice.
    if (!is_kept_attribute(xattr.name)) {
      ++skipped;
      continue;
    }
    if (calls.set(xattr.name.c_str(), xattr.value.data(), xattr.value.size()) == 0) continue;
    if (!not_supported(errno)) {
      return errno_error(errno, fmt::format("set attribute {} of {}", xattr.name, name));
    }
    ++skipped;
  }
  return skipped;
}

}  // namespace

bool is_kept_attribute(std::string_view name) {
  // No filesystem has names that are longer, or nothing behind their namespace.
  if (name.size() > 255 || name == "user." || name == "trusted.") return false;
  return name.starts_with("user.") || name.starts_with("trusted.") ||
         name == "security.capability" || name == "system.posix_acl_access" ||
         name == "system.posix_acl_default";
}

Result<XattrSet> read_xattrs(int fd, const std::string& name) {
  // Most files have none: one call says so, before anything is set up.
  const ssize_t n = ::flistxattr(fd, nullptr, 0);
  if (n == 0 || (n < 0 && not_supported(errno))) return XattrSet{};
  return read_all(calls_for(fd), name);
}

Result<XattrSet> read_xattrs_of_link(const std::string& path) {
  const ssize_t n = ::llistxattr(path.c_str(), nullptr, 0);
  if (n == 0 || (n < 0 && not_supported(errno))) return XattrSet{};
  return read_all(calls_for(path), path);
}

Result<size_t> write_xattrs(int fd, const XattrSet& set, const std::string& name) {
  return write_all_of(calls_for(fd), set, name);
}

Result<size_t> write_xattrs_of_link(const std::string& path, const XattrSet& set) {
  return write_all_of(calls_for(path), set, path);
}

std::string proc_path(int folder, const std::string& name) {
  return "/proc/self/fd/" + std::to_string(folder) + "/" + name;
}

}  // namespace thaw
