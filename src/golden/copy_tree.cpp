#include "golden/copy_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/beneath.h"
#include "golden/walk.h"
#include "snapshot/xattrs.h"

namespace thaw::golden {
namespace {

constexpr size_t kScratchBytes = 256 * 1024;

// The process's umask cannot be asked for without changing it, but for this file.
mode_t read_umask() {
  const auto status = read_file("/proc/self/status", 64 * 1024);
  if (!status) return 0777;
  const std::string_view text = as_text(status->view());
  const size_t at = text.find("Umask:\t");
  if (at == std::string_view::npos) return 0777;
  return static_cast<mode_t>(std::strtoul(std::string(text.substr(at + 7, 8)).c_str(), nullptr, 8));
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

bool has_holes(const struct stat& status) { return status.st_blocks * 512 < status.st_size; }

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

// Both ends of one folder, open.
struct Ends {
  const std::string& path;
  std::unique_ptr<DIR, CloseFolder> listing;
  UniqueFd to;
  int from() const { return ::dirfd(listing.get()); }
};

// What one thread works with and counts.
struct alignas(64) Worker {
  ByteVector scratch{kScratchBytes};
  TreeTotals totals;
  uint64_t attributes_skipped = 0;
};

class Copier {
 public:
  Copier(int from, int to, const std::string& name, const CopyOptions& options)
      : from_(from), to_(to), name_(name), options_(options), workers_(options.threads) {}

  Result<CopyReport> run(const Context& context);

 private:
  Result<> visit(const Context& context, Worker& worker, const std::string& path,
                 std::vector<std::string>& folders);
  Result<> copy_name(const Context& context, Worker& worker, const Ends& ends, const dirent& entry,
                     std::vector<std::string>& folders);
  Result<> copy_file(const Context& context, Worker& worker, const Ends& ends,
                     const std::string& entry);
  Result<> copy_special(Worker& worker, const Ends& ends, const std::string& entry,
                        const struct stat& status);
  Result<> copy_attributes(Worker& worker, int from, int to, const struct stat& status,
                           bool mode_is_set, const std::string& name);
  // Whether the inode has a name in the copy already: then this name was made a link to it. Else it
  // is this name's to make, by `make`, before anybody else asks.
  template <class Make>
  Result<bool> linked(const Ends& ends, const std::string& entry, const struct stat& status,
                      const Make& make);
  Result<> folder_is_done(Worker& worker, std::string path);
  Result<> finish_folder(Worker& worker, const Ends& ends);
  Result<> finish_closed_folders();
  Result<Ends> open(const std::string& path) const;
  std::string shown(const std::string& path, const std::string& entry) const {
    return path.empty() ? name_ + "/" + entry : name_ + "/" + path + "/" + entry;
  }
  static std::string below(const std::string& path, const std::string& entry) {
    return path.empty() ? entry : path + "/" + entry;
  }

  const int from_;
  const int to_;
  const std::string& name_;
  const CopyOptions& options_;
  const mode_t umask_ = read_umask();
  const uid_t uid_ = ::geteuid();
  const gid_t gid_ = ::getegid();
  dev_t device_ = 0;
  CopyWays ways_;
  std::vector<Worker> workers_;
  std::mutex mutex_;                                      // of all below
  std::unordered_map<std::string, size_t> open_folders_;  // how many folders in it are not done
  std::vector<std::string> closed_folders_;  // those that their owner may not write: set last
  std::mutex links_mutex_;
  std::unordered_map<ino_t, std::string> links_;  // the first name of an inode with several
};

Result<Ends> Copier::open(const std::string& path) const {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY;
  auto from = open_beneath(from_, path, kFlags);
  if (!from) return std::move(from).error().within("copy " + name_ + "/" + path);
  auto to = open_beneath(to_, path, kFlags);
  if (!to) return std::move(to).error().within("copy to " + path);
  std::unique_ptr<DIR, CloseFolder> listing(::fdopendir(from->get()));
  if (!listing) return errno_error(errno, "list " + name_ + "/" + path);
  static_cast<void>(from->release());
  return Ends{path, std::move(listing), *std::move(to)};
}

Result<> Copier::visit(const Context& context, Worker& worker, const std::string& path,
                       std::vector<std::string>& folders) {
  {
    THAW_ASSIGN(const Ends ends, open(path));
    ++worker.totals.dirs;
    while (true) {
      errno = 0;
      const dirent* entry = ::readdir(ends.listing.get());
      if (entry == nullptr && errno != 0) return errno_error(errno, "list " + name_ + "/" + path);
      if (entry == nullptr) break;
      if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
      THAW_CHECK(copy_name(context, worker, ends, *entry, folders));
    }
    // Most folders have none in them, and are finished while they are open.
    if (folders.empty()) THAW_CHECK(finish_folder(worker, ends));
  }
  if (folders.empty()) return folder_is_done(worker, path);
  const std::lock_guard lock(mutex_);
  open_folders_[path] = folders.size();
  return {};
}

Result<> Copier::copy_name(const Context& context, Worker& worker, const Ends& ends,
                           const dirent& entry, std::vector<std::string>& folders) {
  const std::string name = entry.d_name;
  if (entry.d_type == DT_REG) return copy_file(context, worker, ends, name);
  struct stat status {};
  if (::fstatat(ends.from(), entry.d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
    return errno_error(errno, "stat " + shown(ends.path, name));
  if (S_ISREG(status.st_mode)) return copy_file(context, worker, ends, name);
  if (!S_ISDIR(status.st_mode)) return copy_special(worker, ends, name, status);
  if (status.st_dev != device_) {
    return Error(Code::busy, shown(ends.path, name) + " is another filesystem");
  }
  if (::mkdirat(ends.to.get(), entry.d_name, 0700) != 0)
    return errno_error(errno, "create " + below(ends.path, name));
  folders.push_back(below(ends.path, name));
  return {};
}

template <class Make>
Result<bool> Copier::linked(const Ends& ends, const std::string& entry, const struct stat& status,
                            const Make& make) {
  if (status.st_nlink < 2) {
    THAW_CHECK(make());
    return false;
  }
  // A link may be made before the file has its bytes: it is the inode that gets them.
  const std::lock_guard lock(links_mutex_);
  const auto first = links_.find(status.st_ino);
  if (first == links_.end()) {
    THAW_CHECK(make());
    links_.emplace(status.st_ino, below(ends.path, entry));
    return false;
  }
  THAW_ASSIGN(const ParentAndName there, open_parent_beneath(to_, first->second));
  if (::linkat(there.folder.get(), there.name.c_str(), ends.to.get(), entry.c_str(), 0) != 0)
    return errno_error(errno, "link " + below(ends.path, entry));
  return true;
}

Result<> Copier::copy_file(const Context& context, Worker& worker, const Ends& ends,
                           const std::string& entry) {
  THAW_ASSIGN(const UniqueFd from, open_at(ends.from(), entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  struct stat status {};
  if (::fstat(from.get(), &status) != 0) return errno_error(errno, "stat " + entry);
  if (!S_ISREG(status.st_mode))
    return Error(Code::busy, shown(ends.path, entry) + " became something else");
  ++worker.totals.files;
  UniqueFd to;
  const mode_t mode = status.st_mode & 07777;
  auto made = linked(ends, entry, status, [&]() -> Result<> {
    // Writable to us whatever the mode, since this is the descriptor that makes it.
    THAW_ASSIGN(to, open_at(ends.to.get(), entry, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
    return {};
  });
  if (!made) return std::move(made).error();
  if (options_.progress != nullptr)
    options_.progress->files_done.fetch_add(1, std::memory_order_relaxed);
  if (*made) return {};
  const auto size = static_cast<uint64_t>(status.st_size);
  worker.totals.bytes += size;
  const std::string name = shown(ends.path, entry);
  THAW_CHECK(copy_content(context, from.get(), to.get(), size, has_holes(status), ways_,
                          worker.scratch.span(), name));
  if (options_.progress != nullptr)
    options_.progress->bytes_done.fetch_add(size, std::memory_order_relaxed);
  const bool mode_is_set = (mode & (umask_ | 07000U)) == 0;
  return copy_attributes(worker, from.get(), to.get(), status, mode_is_set, name);
}

Result<> Copier::copy_special(Worker& worker, const Ends& ends, const std::string& entry,
                              const struct stat& status) {
  ++worker.totals.others;
  const std::string name = shown(ends.path, entry);
  const int to = ends.to.get();
  auto made = linked(ends, entry, status, [&]() -> Result<> {
    if (!S_ISLNK(status.st_mode)) {
      if (::mknodat(to, entry.c_str(), status.st_mode, status.st_rdev) == 0) return {};
      return errno_error(errno, "create " + name);
    }
    std::array<char, PATH_MAX> target{};
    const ssize_t n = ::readlinkat(ends.from(), entry.c_str(), target.data(), target.size() - 1);
    if (n < 0) return errno_error(errno, "read the link " + name);
    if (::symlinkat(target.data(), to, entry.c_str()) != 0)
      return errno_error(errno, "create " + name);
    return {};
  });
  if (!made) return std::move(made).error();
  if (*made) return {};
  if (uid_ == 0 &&
      ::fchownat(to, entry.c_str(), status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) != 0) {
    ++worker.attributes_skipped;
  }
  if (!S_ISLNK(status.st_mode) && ::fchmodat(to, entry.c_str(), status.st_mode & 07777, 0) != 0)
    return errno_error(errno, "change the mode of " + name);
  THAW_ASSIGN(const XattrSet xattrs, read_xattrs_of_link(proc_path(ends.from(), entry)));
  if (!xattrs.empty()) {
    THAW_ASSIGN(const size_t skipped, write_xattrs_of_link(proc_path(to, entry), xattrs));
    worker.attributes_skipped += skipped;
  }
  const struct timespec times[2] = {{0, UTIME_OMIT}, status.st_mtim};
  if (::utimensat(to, entry.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    return errno_error(errno, "change the time of " + name);
  return {};
}

// In this order, for a change of owner clears set-id bits and capabilities.
Result<> Copier::copy_attributes(Worker& worker, int from, int to, const struct stat& status,
                                 bool mode_is_set, const std::string& name) {
  if (uid_ == 0 && (status.st_uid != uid_ || status.st_gid != gid_)) {
    if (::fchown(to, status.st_uid, status.st_gid) != 0) {
      if (errno != EPERM && errno != EINVAL)
        return errno_error(errno, "change the owner of " + name);
      ++worker.attributes_skipped;
    }
  }
  if (!mode_is_set && ::fchmod(to, status.st_mode & 07777) != 0)
    return errno_error(errno, "change the mode of " + name);
  THAW_ASSIGN(const XattrSet xattrs, read_xattrs(from, name));
  if (!xattrs.empty()) {
    THAW_ASSIGN(const size_t skipped, write_xattrs(to, xattrs, name));
    worker.attributes_skipped += skipped;
  }
  const struct timespec times[2] = {{0, UTIME_OMIT}, status.st_mtim};
  if (::futimens(to, times) != 0) return errno_error(errno, "change the time of " + name);
  return {};
}

// Finishes those above it that waited for it alone.
Result<> Copier::folder_is_done(Worker& worker, std::string path) {
  while (!path.empty()) {
    path = parent_of(path);
    {
      const std::lock_guard lock(mutex_);
      const auto parent = open_folders_.find(path);
      if (parent == open_folders_.end()) return Error(Code::internal, "a folder lost count");
      if (--parent->second != 0) return {};
      open_folders_.erase(parent);
    }
    THAW_ASSIGN(const Ends ends, open(path));
    THAW_CHECK(finish_folder(worker, ends));
  }
  return {};
}

Result<> Copier::finish_folder(Worker& worker, const Ends& ends) {
  struct stat status {};
  if (::fstat(ends.from(), &status) != 0) return errno_error(errno, "stat " + ends.path);
  // Links to files in it may still be made, and who may not enter it cannot.
  if ((status.st_mode & 0700) != 0700 && uid_ != 0) {
    const std::lock_guard lock(mutex_);
    closed_folders_.push_back(ends.path);
    return {};
  }
  return copy_attributes(worker, ends.from(), ends.to.get(), status, false, shown(ends.path, "."));
}

Result<> Copier::finish_closed_folders() {
  // The deepest first: a closed folder hides those in it.
  std::sort(closed_folders_.rbegin(), closed_folders_.rend());
  for (const std::string& path : closed_folders_) {
    THAW_ASSIGN(const Ends ends, open(path));
    struct stat status {};
    if (::fstat(ends.from(), &status) != 0) return errno_error(errno, "stat " + path);
    THAW_CHECK(copy_attributes(workers_.front(), ends.from(), ends.to.get(), status, false,
                               shown(path, ".")));
  }
  return {};
}

Result<CopyReport> Copier::run(const Context& context) {
  struct stat top {};
  if (::fstat(from_, &top) != 0) return errno_error(errno, "stat " + name_);
  device_ = top.st_dev;
  THAW_CHECK(walk_folders(context, options_.threads,
                          [this](const Context& inner, unsigned worker, const std::string& path,
                                 std::vector<std::string>& folders) {
                            return visit(inner, workers_[worker], path, folders);
                          }));
  THAW_CHECK(finish_closed_folders());
  CopyReport report;
  for (const Worker& each : workers_) {
    report.totals.files += each.totals.files;
    report.totals.dirs += each.totals.dirs;
    report.totals.others += each.totals.others;
    report.totals.bytes += each.totals.bytes;
    report.attributes_skipped += each.attributes_skipped;
  }
  report.reflinked = ways_.reflinked;
  report.copied = ways_.copied;
  return report;
}

}  // namespace

Result<CopyReport> copy_tree(const Context& context, int from, int to, const std::string& name,
                             const CopyOptions& options) {
  CopyOptions checked = options;
  checked.threads = std::max(options.threads, 1U);
  return Copier(from, to, name, checked).run(context);
}

}  // namespace thaw::golden
