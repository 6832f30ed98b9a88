#include "golden/walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/beneath.h"
#include "base/task_group.h"

namespace thaw::golden {
namespace {

class Walk {
 public:
  explicit Walk(const Visit& visit) : visit_(visit) {}

  Result<> work(const Context& context, unsigned worker) {
    std::vector<std::string> folders;
    while (true) {
      std::string path;
      {
        std::unique_lock lock(mutex_);
        while (waiting_.empty() && pending_ != 0 && !failed_) {
          wake_.wait_for(lock, std::chrono::milliseconds(50));
          if (!context.alive()) break;
        }
        if (pending_ == 0 || failed_ || waiting_.empty()) break;
        path = std::move(waiting_.back());
        waiting_.pop_back();
      }
      folders.clear();
      auto alive = context.alive();
      auto done = alive ? visit_(context, worker, path, folders) : std::move(alive);
      finish(folders, done.ok());
      if (!done) return done;
    }
    return context.alive();
  }

 private:
  void finish(std::vector<std::string>& folders, bool ok) {
    {
      const std::lock_guard lock(mutex_);
      if (ok) {
        pending_ += folders.size();
        for (std::string& each : folders) waiting_.push_back(std::move(each));
      }
      failed_ = failed_ || !ok;
      --pending_;
    }
    wake_.notify_all();
  }

  const Visit& visit_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::string> waiting_{""};
  size_t pending_ = 1;
  bool failed_ = false;
};

// Sums of one thread's folders; hashes are added, so that the order does not matter.
struct alignas(64) Sums {
  TreeTotals totals;
  uint64_t fingerprint = 0;
  bool overlay_marks = false;
};

class Measurer {
 public:
  Measurer(int root, const std::string& name, unsigned threads, const LeavesOut& leaves_out)
      : root_(root), name_(name), leaves_out_(leaves_out), sums_(threads) {}

  Result<> visit(unsigned worker, const std::string& path, std::vector<std::string>& folders) {
    Sums& sums = sums_[worker];
    auto fd = open_beneath(root_, path, O_RDONLY | O_DIRECTORY);
    if (!fd && fd.error().code() == Code::not_found && !path.empty()) return {};
    if (!fd) return std::move(fd).error().within("look at " + name_ + "/" + path);
    char marks[1];
    // ENODATA and all else: it is not marked, or that cannot be told.
    if (::fgetxattr(fd->get(), "trusted.overlay.opaque", marks, sizeof marks) > 0)
      sums.overlay_marks = true;
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(::fdopendir(fd->get()), &::closedir);
    if (!folder) return errno_error(errno, "list " + name_ + "/" + path);
    static_cast<void>(fd->release());
    if (path.empty()) {
      struct stat status {};
      if (::fstat(::dirfd(folder.get()), &status) != 0) return errno_error(errno, "stat " + name_);
      device_ = status.st_dev;  // before any other folder is looked at
      add(sums, path, status);
    }
    while (const dirent* entry = ::readdir(folder.get())) {
      if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
      std::string below = path.empty() ? entry->d_name : path + "/" + entry->d_name;
      if (leaves_out_ && leaves_out_(below)) continue;
      struct stat status {};
      if (::fstatat(::dirfd(folder.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) continue;
        return errno_error(errno, "stat " + name_ + "/" + path + "/" + entry->d_name);
      }
      add(sums, below, status);
      if (!S_ISDIR(status.st_mode)) continue;
      if (status.st_dev != device_) note_foreign(below);
      folders.push_back(std::move(below));
    }
    return {};
  }

  Measure result() const {
    Measure all;
    all.foreign = foreign_;
    for (const auto& [inode, missing] : linked_) {
      if (missing > 0) ++all.linked_outside;
    }
    for (const Sums& each : sums_) {
      all.fingerprint += each.fingerprint;
      all.overlay_marks = all.overlay_marks || each.overlay_marks;
      all.totals.files += each.totals.files;
      all.totals.dirs += each.totals.dirs;
      all.totals.others += each.totals.others;
      all.totals.bytes += each.totals.bytes;
    }
    return all;
  }

 private:
  void note_foreign(const std::string& path) {
    const std::lock_guard lock(mutex_);
    if (foreign_.empty()) foreign_ = path;
  }

  // Whether this name is the first of its inode.
  bool is_first(const struct stat& status) {
    if (status.st_nlink == 1) return true;
    const std::lock_guard lock(mutex_);
    const auto [at, is_new] = linked_.try_emplace(status.st_ino, status.st_nlink);
    --at->second;
    return is_new;
  }

  void add(Sums& sums, const std::string& path, const struct stat& status) {
    TreeTotals& totals = sums.totals;
    if (S_ISDIR(status.st_mode)) {
      ++totals.dirs;
    } else if (S_ISREG(status.st_mode)) {
      ++totals.files;
      if (is_first(status)) totals.bytes += static_cast<uint64_t>(status.st_size);
    } else {
      ++totals.others;
      const bool is_whiteout = S_ISCHR(status.st_mode) && status.st_rdev == 0;
      sums.overlay_marks = sums.overlay_marks || is_whiteout;
    }
    const bool is_dir = S_ISDIR(status.st_mode);
    const bool timeless = is_dir && leaves_out_;
    const struct timespec mtime = timeless ? timespec{} : status.st_mtim;
    const struct timespec ctime = timeless ? timespec{} : status.st_ctim;
    const uint64_t fields[] = {XXH3_64bits(path.data(), path.size()),
                               status.st_ino,
                               status.st_mode,
                               is_dir ? 0 : static_cast<uint64_t>(status.st_size),
                               static_cast<uint64_t>(mtime.tv_sec),
                               static_cast<uint64_t>(mtime.tv_nsec),
                               static_cast<uint64_t>(ctime.tv_sec),
                               static_cast<uint64_t>(ctime.tv_nsec)};
    sums.fingerprint += XXH3_64bits(fields, sizeof fields);
  }

  const int root_;
  const std::string& name_;
  const LeavesOut& leaves_out_;
  std::vector<Sums> sums_;
  dev_t device_ = 0;
  std::mutex mutex_;                           // of all below
  std::unordered_map<ino_t, nlink_t> linked_;  // how many names of it were not met yet
  std::string foreign_;
};

}  // namespace

Result<> walk_folders(const Context& context, unsigned threads, const Visit& visit) {
  Walk walk(visit);
  threads = std::max(threads, 1U);
  return parallel_for(
      context, threads, threads,
      [&walk](const Context& inner, unsigned worker, size_t) { return walk.work(inner, worker); });
}

Result<Measure> measure(const Context& context, const std::string& path, unsigned threads,
                        const LeavesOut& leaves_out) {
  THAW_ASSIGN(const UniqueFd root, open_path(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  Measurer measurer(root.get(), path, std::max(threads, 1U), leaves_out);
  THAW_CHECK(walk_folders(context, threads,
                          [&measurer](const Context&, unsigned worker, const std::string& folder,
                                      std::vector<std::string>& folders) {
                            return measurer.visit(worker, folder, folders);
                          }));
  return measurer.result();
}

}  // namespace thaw::golden
