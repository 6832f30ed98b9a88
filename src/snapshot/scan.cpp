#include "snapshot/scan.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <unordered_map>

#include "base/beneath.h"
#include "base/task_group.h"
#include "format/limits.h"
#include "snapshot/stage.h"
#include "snapshot/xattrs.h"

namespace thaw {
namespace {

struct Listing;

// A name in a folder, as listed.
struct Child {
  std::string name;
  struct stat status {};
  std::string target;                // of a symbolic link
  XattrSet xattrs;                   // of what is never opened: links, FIFOs, devices
  std::unique_ptr<Listing> listing;  // of a folder
};

struct Listing {
  std::string path;  // below the root
  bool gone = false;
  XattrSet xattrs;
  std::vector<Child> children;  // by name
};

using FileId = std::pair<uint64_t, uint64_t>;  // device, inode

class DirectoryStream {
 public:
  static Result<DirectoryStream> open(UniqueFd fd, const std::string& name) {
    // fdopendir takes the descriptor over, but only when it succeeds.
    DIR* stream = ::fdopendir(fd.get());
    if (stream == nullptr) return errno_error(errno, "list " + name);
    std::ignore = fd.release();
    return DirectoryStream(stream);
  }
  Result<const dirent*> next(const std::string& name) {
    errno = 0;
    const dirent* entry = ::readdir(stream_.get());
    if (entry == nullptr && errno != 0) return errno_error(errno, "list " + name);
    return entry;
  }

 private:
  explicit DirectoryStream(DIR* stream) : stream_(stream, &::closedir) {}
  std::unique_ptr<DIR, int (*)(DIR*)> stream_;
};

// Lists folders on several threads: each takes the next folder that is known and not yet listed.
class Scanner {
 public:
  Scanner(int root, const std::string& root_name, const ScanOptions& options)
      : root_(root), root_name_(root_name), options_(options) {
    for (const std::string& path : options.skip) {
      struct stat status {};
      if (::stat(path.c_str(), &status) == 0) skip_[{status.st_dev, status.st_ino}] = path;
    }
  }

  Result<> run(const Context& context, Listing& top) {
    waiting_.push_back(&top);
    pending_ = 1;
    const unsigned threads = std::max(options_.threads, 1U);
    return parallel_for(context, threads, threads,
                        [this](const Context& inner, unsigned, size_t) { return work(inner); });
  }

  uint64_t sockets = 0;
  std::vector<std::string> skipped;

 private:
  Result<> work(const Context& context) {
    while (true) {
      Listing* folder = nullptr;
      {
        std::unique_lock lock(mutex_);
        while (waiting_.empty() && pending_ != 0 && !failed_) {
          wake_.wait_for(lock, std::chrono::milliseconds(50));
          if (!context.alive()) break;
        }
        if (pending_ == 0 || failed_ || waiting_.empty()) break;
        // Depth first: the newest folder's parents are still in the kernel's caches.
        folder = waiting_.back();
        waiting_.pop_back();
      }
      auto listed = list(*folder);
      finish(*folder, listed.ok());
      if (!listed) return listed;
      THAW_CHECK(context.alive());
    }
    return context.alive();
  }

  void finish(Listing& folder, bool ok) {
    {
      const std::lock_guard lock(mutex_);
      if (ok) {
        for (Child& child : folder.children) {
          if (child.listing == nullptr) continue;
          waiting_.push_back(child.listing.get());
          ++pending_;
        }
      }
      failed_ = failed_ || !ok;
      --pending_;
    }
    wake_.notify_all();
  }

  std::string name_of(const Listing& folder) const {
    return folder.path.empty() ? root_name_ : root_name_ + "/" + folder.path;
  }

  Result<> list(Listing& folder) {
    const std::string name = name_of(folder);
    auto opened = open_beneath(root_, folder.path, O_RDONLY | O_DIRECTORY);
    if (!opened) return not_as_listed(folder, std::move(opened).error()).within("scan " + name);
    const int fd = opened->get();
    THAW_ASSIGN(folder.xattrs, read_xattrs(fd, name));
    THAW_ASSIGN(DirectoryStream stream, DirectoryStream::open(*std::move(opened), name));
    while (true) {
      THAW_ASSIGN(const dirent* entry, stream.next(name));
      if (entry == nullptr) break;
      if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
      THAW_CHECK(add(folder, fd, entry->d_name));
    }
    std::sort(folder.children.begin(), folder.children.end(),
              [](const Child& a, const Child& b) { return a.name < b.name; });
    return {};
  }

  // It was a folder when its parent was listed: gone since, or something else, or a folder above it
  // is.
  Result<> not_as_listed(Listing& folder, Error error) const {
    const bool may_have_changed = error.code() == Code::not_found || error.code() == Code::invalid;
    if (!may_have_changed || folder.path.empty()) return error;
    folder.gone = is_gone(root_, folder.path);
    if (folder.gone) return {};
    return changed(folder.path);
  }

  Error changed(const std::string& path) const {
    return {Code::busy, root_name_ + "/" + path + " became something else while it was listed"};
  }

  Result<> add(Listing& folder, int fd, const char* name) {
    const std::string path = folder.path.empty() ? name : folder.path + "/" + name;
    if (options_.exclude.match(path)) return {};
    Child child;
    child.name = name;
    if (::fstatat(fd, name, &child.status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return {};
      return errno_error(errno, "stat " + root_name_ + "/" + path);
    }
    if (S_ISSOCK(child.status.st_mode) && options_.sockets == Sockets::counted) {
      const std::lock_guard lock(mutex_);
      ++sockets;
      return {};
    }
    if (S_ISDIR(child.status.st_mode) || S_ISREG(child.status.st_mode)) {
      if (const auto skip = skip_.find({child.status.st_dev, child.status.st_ino});
          skip != skip_.end()) {
        const std::lock_guard lock(mutex_);
        skipped.push_back(skip->second);
        return {};
      }
    }
    if (S_ISDIR(child.status.st_mode)) {
      if (is_stage_name(name)) {
        const bool at_root = folder.path.empty();
        if (options_.stages == Stages::skipped) {
          const std::lock_guard lock(mutex_);
          skipped.push_back(root_name_ + "/" + path);
        }
        if (options_.stages == Stages::skipped || at_root) return {};
      }
      child.listing = std::make_unique<Listing>();
      child.listing->path = path;
    } else if (!S_ISREG(child.status.st_mode)) {
      auto read = read_special(fd, path, child);
      if (!read && read.error().code() == Code::not_found) return {};
      if (!read) return read;
    }
    folder.children.push_back(std::move(child));
    return {};
  }

  Result<> read_special(int fd, const std::string& path, Child& child) {
    if (S_ISLNK(child.status.st_mode)) {
      char target[limits::kLinkTargetBytes + 1];
      const ssize_t n = ::readlinkat(fd, child.name.c_str(), target, sizeof target);
      if (n < 0 && errno == EINVAL) return changed(path);
      if (n <= 0) return errno_error(n == 0 ? EINVAL : errno, "read link " + path);
      if (static_cast<size_t>(n) > limits::kLinkTargetBytes) {
        return Error(Code::exhausted, path + " is a link of more than 4,095 bytes");
      }
      child.target.assign(target, static_cast<size_t>(n));
    }
    THAW_ASSIGN(child.xattrs, read_xattrs_of_link(proc_path(fd, child.name)));
    return {};
  }

  const int root_;
  const std::string root_name_;
  const ScanOptions& options_;
  std::map<FileId, std::string> skip_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Listing*> waiting_;
  size_t pending_ = 0;  // listed or being listed by nobody yet, and being listed now
  bool failed_ = false;
};

// Lays the listings out in canonical order.
class Assembler {
 public:
  explicit Assembler(Scan& scan) : scan_(scan) {}

  Result<> run(const struct stat& root, Listing& top) {
    append(0, "", root, top.xattrs);
    return descend(0, top, 1);
  }

 private:
  uint32_t append(uint32_t parent, std::string_view name, const struct stat& status,
                  const XattrSet& xattrs) {
    Tree& tree = scan_.tree;
    Node node;
    node.parent = parent;
    node.name_offset = static_cast<uint32_t>(tree.names.size());
    node.name_length = static_cast<uint8_t>(name.size());
    node.mode = static_cast<uint16_t>(status.st_mode);
    node.owner = {status.st_uid, status.st_gid};
    node.mtime_ns = timestamp_ns(status.st_mtim);
    tree.names += name;
    if (!xattrs.empty()) {
      node.xattrs = static_cast<uint32_t>(tree.xattr_sets.size());
      tree.xattr_sets.push_back(xattrs);
    }
    tree.nodes.push_back(node);
    scan_.stats.push_back(file_stat_of(status));
    return static_cast<uint32_t>(tree.nodes.size() - 1);
  }

  Result<> descend(uint32_t parent, Listing& listing, uint32_t depth) {
    if (depth > limits::kDepth) {
      return Error(Code::exhausted,
                   fmt::format("{} is deeper than {} folders", listing.path, limits::kDepth));
    }
    for (Child& child : listing.children) {
      if (scan_.tree.nodes.size() >= limits::kNodes) {
        return Error(Code::exhausted,
                     fmt::format("more than {} names in one tree", limits::kNodes));
      }
      if (child.listing != nullptr && child.listing->gone) continue;
      if (child.listing != nullptr) {
        const uint32_t index = append(parent, child.name, child.status, child.listing->xattrs);
        THAW_CHECK(descend(index, *child.listing, depth + 1));
        child.listing.reset();
      } else {
        const uint32_t index = append(parent, child.name, child.status, child.xattrs);
        add_payload(index, child);
      }
    }
    return {};
  }

  void add_payload(uint32_t index, const Child& child) {
    Tree& tree = scan_.tree;
    Node& node = tree.nodes[index];
    if (child.status.st_nlink > 1) {
      const auto [first, fresh] =
          first_of_.try_emplace({child.status.st_dev, child.status.st_ino}, index);
      if (!fresh && tree.nodes[first->second].mode == node.mode) {
        node.link_to = first->second;
        // All of an inode's names share its attributes; a save that raced with a change takes one
        // view.
        node.owner = tree.nodes[first->second].owner;
        node.mtime_ns = tree.nodes[first->second].mtime_ns;
        node.xattrs = tree.nodes[first->second].xattrs;
        return;
      }
    }
    if (node.is_symlink()) {
      node.payload = static_cast<uint32_t>(tree.targets.size());
      tree.targets.push_back(child.target);
    } else if (node.is_device()) {
      node.payload = static_cast<uint32_t>(tree.devices.size());
      tree.devices.push_back(
          {gnu_dev_major(child.status.st_rdev), gnu_dev_minor(child.status.st_rdev)});
    }
  }

  struct FileIdHash {
    size_t operator()(const FileId& id) const { return id.second * 0x9e3779b97f4a7c15 + id.first; }
  };
  Scan& scan_;
  std::unordered_map<FileId, uint32_t, FileIdHash> first_of_;
};

}  // namespace

int64_t timestamp_ns(const struct timespec& time) {
  constexpr int64_t kSecond = 1'000'000'000;
  int64_t seconds = time.tv_sec;
  int64_t rest = time.tv_nsec;
  // Towards zero: only so does each step fit where the sum does.
  if (seconds < 0 && rest > 0) {
    ++seconds;
    rest -= kSecond;
  }
  int64_t sum = 0;
  const bool fits =
      !__builtin_mul_overflow(seconds, kSecond, &sum) && !__builtin_add_overflow(sum, rest, &sum);
  if (fits) return sum;
  return time.tv_sec < 0 ? INT64_MIN : INT64_MAX;
}

struct timespec timespec_of(int64_t time_ns) {
  struct timespec time {};
  time.tv_sec = time_ns / 1'000'000'000;
  time.tv_nsec = time_ns % 1'000'000'000;
  if (time.tv_nsec < 0) {
    time.tv_nsec += 1'000'000'000;
    --time.tv_sec;
  }
  return time;
}

FileStat file_stat_of(const struct stat& status) {
  FileStat stat;
  stat.device = status.st_dev;
  stat.inode = status.st_ino;
  stat.size_bytes = static_cast<uint64_t>(status.st_size);
  stat.mtime_ns = timestamp_ns(status.st_mtim);
  stat.ctime_ns = timestamp_ns(status.st_ctim);
  stat.allocated_bytes = static_cast<uint64_t>(status.st_blocks) * 512;
  return stat;
}

namespace {

Result<Scan> scan_once(const Context& context, const std::string& path,
                       const ScanOptions& options) {
  Scan scan;
  // The path itself may be a link, as people's working directories often are; nothing below it is.
  THAW_ASSIGN(scan.root, open_path(path, O_RDONLY | O_DIRECTORY));
  struct stat root {};
  if (::fstat(scan.root.get(), &root) != 0) return errno_error(errno, "stat " + path);
  Listing top;
  Scanner scanner(scan.root.get(), path, options);
  THAW_CHECK(scanner.run(context, top));
  THAW_CHECK(Assembler(scan).run(root, top));
  scan.sockets_skipped = scanner.sockets;
  scan.skipped = std::move(scanner.skipped);
  return scan;
}

}  // namespace

Result<Scan> scan_tree(const Context& context, const std::string& path,
                       const ScanOptions& options) {
  constexpr int kAttempts = 3;
  for (int attempt = 1;; ++attempt) {
    auto scan = scan_once(context, path, options);
    const bool again = !scan && scan.error().code() == Code::busy && attempt < kAttempts;
    if (!again) return scan;
  }
}

}  // namespace thaw
