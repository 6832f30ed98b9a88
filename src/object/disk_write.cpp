#include "object/disk_write.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/log.h"
#include "base/random.h"
#include "object/disk_tree.h"

namespace thaw::disk {
namespace {

constexpr size_t kPieceBytes = 8 * 1024 * 1024;  // between two looks at the context

// What stands in the way of a new name.
Result<Placed> obstacle(int folder, const std::string& leaf, PutMode mode) {
  struct stat status {};
  if (::fstatat(folder, leaf.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return Placed::again;
    return errno_error(errno, "stat " + leaf);
  }
  if (S_ISREG(status.st_mode) && mode == PutMode::create) return Placed::taken;
  // An empty folder is left by a crash between making it and filling it.
  if (S_ISDIR(status.st_mode) && ::unlinkat(folder, leaf.c_str(), AT_REMOVEDIR) == 0) {
    return Placed::again;
  }
  return Error(Code::invalid, leaf + " is a folder or a special file there, and no object");
}

std::optional<std::tuple<uint64_t, uint64_t, int64_t>> identity_of(int folder) {
  struct statx status {};
  if (::statx(folder, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &status) != 0)
    return std::nullopt;
  // An inode number alone may be that of a new folder.
  if ((status.stx_mask & STATX_BTIME) == 0) return std::nullopt;
  constexpr int64_t kSecond = 1'000'000'000;
  const uint64_t device = uint64_t{status.stx_dev_major} << 32 | status.stx_dev_minor;
  return std::tuple(device, uint64_t{status.stx_ino},
                    status.stx_btime.tv_sec * kSecond + status.stx_btime.tv_nsec);
}

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

}  // namespace

Result<TempFile> TempFile::make(int root) {
  const std::string folder_name(kTempFolder);
  if (::mkdirat(root, folder_name.c_str(), 0777) != 0 && errno != EEXIST) {
    return errno_error(errno, "create folder " + folder_name);
  }
  auto folder = open_below(root, folder_name, O_RDONLY | O_DIRECTORY);
  if (!folder && folder.error().code() == Code::not_found) {
    return Error(Code::invalid, folder_name + " in the store is no folder");
  }
  if (!folder) return std::move(folder).error();
  const RandomId id = RandomId::fresh();
  THAW_ASSIGN(UniqueFd file,
              open_below(folder->get(), id.hex(), O_WRONLY | O_CREAT | O_EXCL, 0666));
  constexpr uint32_t kMillisecond = 1'000'000;
  return TempFile(*std::move(folder), std::move(file), id.hex(),
                  load_le<uint32_t>(id.bytes.data()) % kMillisecond);
}

TempFile::~TempFile() {
  if (!file_.valid() || renamed_) return;
  if (::unlinkat(folder_.get(), name_.c_str(), 0) != 0 && errno != ENOENT) {
    log::info("{}", errno_error(errno, "remove temporary file " + name_).text());
  }
}

void TempFile::sweep_leftovers() const {
  constexpr time_t kDay = 24 * 60 * 60;
  struct stat own {};
  auto names = open_below(folder_.get(), "", O_RDONLY | O_DIRECTORY);
  if (!names || ::fstat(file_.get(), &own) != 0) return;
  const std::unique_ptr<DIR, CloseFolder> folder(::fdopendir(names->get()));
  if (!folder) return;
  const int at = names->release();
  while (const dirent* entry = ::readdir(folder.get())) {
    struct stat status {};
    if (::fstatat(at, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    // This file's own time is that of the filesystem's clock, which may be another machine's.
    if (!S_ISREG(status.st_mode) || status.st_mtim.tv_sec >= own.st_mtim.tv_sec - kDay) continue;
    if (::unlinkat(at, entry->d_name, 0) == 0) {
      log::info("removed {}, which a writer left in {} over a day ago", entry->d_name, kTempFolder);
    } else {
      log::info("{}", errno_error(errno, std::string("remove leftover ") + entry->d_name).text());
    }
  }
}

Result<> TempFile::write(const Context& context, Bytes bytes, Durability durability) {
  while (!bytes.empty()) {
    THAW_CHECK(context.alive());
    const Bytes piece = bytes.first(std::min(bytes.size(), kPieceBytes));
    THAW_CHECK(write_all(file_.get(), piece, "temporary file"));
    bytes = bytes.subspan(piece.size());
  }
  THAW_CHECK(context.alive());
  THAW_CHECK(stamp());
  return durability == Durability::full ? sync_file(file_.get(), "temporary file") : Result<>();
}

// Filesystems give a freed inode to the next file, and their clock ticks every few milliseconds: an
// object that is overwritten twice within a tick would get its first ETag again. So the time gets
// random digits where the clock has none.
Result<> TempFile::stamp() const {
  THAW_ASSIGN(const struct stat status, status_of(file_.get(), "temporary file"));
  constexpr long kSecond = 1'000'000'000;
  timespec modified = status.st_mtim;
  modified.tv_nsec += jitter_ns_;
  modified.tv_sec += modified.tv_nsec / kSecond;
  modified.tv_nsec %= kSecond;
  const timespec times[2] = {{0, UTIME_OMIT}, modified};
  // Some network filesystems refuse; their inodes do not come back so fast.
  if (::futimens(file_.get(), times) != 0) {
    log::debug("{}", errno_error(errno, "set the time of a temporary file").text());
  }
  return {};
}

Result<Placed> TempFile::place(int folder, const std::string& leaf, PutMode mode) {
  return mode == PutMode::create ? create(folder, leaf) : overwrite(folder, leaf);
}

// Either the folder or the temporary file has gone.
Result<Placed> TempFile::missing(int errno_value) const {
  THAW_ASSIGN(const struct stat status, status_of(file_.get(), "temporary file"));
  if (status.st_nlink != 0) return Placed::again;
  return Error(Code::unavailable, "the temporary file " + name_ + " was removed by somebody: " +
                                      errno_error(errno_value, "link").message());
}

Result<Placed> TempFile::overwrite(int folder, const std::string& leaf) {
  if (::renameat(folder_.get(), name_.c_str(), folder, leaf.c_str()) == 0) {
    renamed_ = true;
    return Placed::done;
  }
  const int error = errno;
  if (error == ENOENT) return missing(error);
  if (error == EISDIR || error == EEXIST || error == ENOTEMPTY) {
    return obstacle(folder, leaf, PutMode::overwrite);
  }
  return errno_error(error, "rename temporary file to " + leaf);
}

Result<Placed> TempFile::create(int folder, const std::string& leaf) {
  if (::linkat(folder_.get(), name_.c_str(), folder, leaf.c_str(), 0) == 0) return Placed::done;
  const int error = errno;
  // On NFS an answer may get lost and the repeated request find the name there: ours, though.
  struct stat status {};
  if (::fstat(file_.get(), &status) == 0 && status.st_nlink == 2) return Placed::done;
  switch (error) {
    case EEXIST:
      return obstacle(folder, leaf, PutMode::create);
    case ENOENT:
      return missing(error);
    case EPERM:
    case ENOSYS:
    case EOPNOTSUPP:
      return create_by_rename(folder, leaf);  // no hard links here
    default:
      return errno_error(error, "link temporary file to " + leaf);
  }
}

Result<Placed> TempFile::create_by_rename(int folder, const std::string& leaf) {
  if (::renameat2(folder_.get(), name_.c_str(), folder, leaf.c_str(), RENAME_NOREPLACE) == 0) {
    renamed_ = true;
    return Placed::done;
  }
  const int error = errno;
  switch (error) {
    case EEXIST:
      return obstacle(folder, leaf, PutMode::create);
    case ENOENT:
      return missing(error);
    case EINVAL:
    case EPERM:
    case ENOSYS:
    case EOPNOTSUPP:
      return Error(Code::invalid,
                   "this filesystem has neither link(2) nor renameat2(2) with RENAME_NOREPLACE, so "
                   "no name can be claimed in it");
    default:
      return errno_error(error, "rename temporary file to " + leaf);
  }
}

Result<std::optional<UniqueFd>> Folders::open(int root, const std::string& path) {
  auto opened = open_below(root, path, O_RDONLY | O_DIRECTORY);
  if (opened && (path.empty() || lasts(opened->get()))) return std::optional(*std::move(opened));
  if (!opened && opened.error().code() != Code::not_found) return std::move(opened).error();
  return open_each(root, path);
}

Result<std::optional<UniqueFd>> Folders::open_each(int root, const std::string& path) {
  THAW_ASSIGN(UniqueFd at, open_below(root, "", O_RDONLY | O_DIRECTORY));
  size_t start = 0;
  while (start <= path.size()) {
    const size_t end = std::min(path.find('/', start), path.size());
    THAW_ASSIGN(std::optional<UniqueFd> next, step(at.get(), path.substr(start, end - start)));
    if (!next) return std::nullopt;
    if (!lasts(next->get())) {
      // Whoever made it may not have synced it yet.
      THAW_CHECK(sync_folder(at.get(), "folder above " + path.substr(0, end)));
      remember(next->get());
    }
    at = *std::move(next);
    start = end + 1;
  }
  return std::optional(std::move(at));
}

Result<std::optional<UniqueFd>> Folders::step(int at, const std::string& name) {
  if (::mkdirat(at, name.c_str(), 0777) != 0 && errno != EEXIST) {
    if (errno == ENOENT) return std::nullopt;
    return errno_error(errno, "create folder " + name);
  }
  auto opened = open_below(at, name, O_RDONLY | O_DIRECTORY);
  if (opened) return std::optional(*std::move(opened));
  if (opened.error().code() != Code::not_found) return std::move(opened).error();
  struct stat status {};
  if (::fstatat(at, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(status.st_mode)) {
    return Error(Code::invalid, name + " is an object or a link there, and no folder");
  }
  return std::nullopt;
}

bool Folders::lasts(int folder) {
  if (durability_ == Durability::none) return true;
  const auto identity = identity_of(folder);
  const std::lock_guard lock(mutex_);
  return identity && lasting_.contains(*identity);
}

void Folders::remember(int folder) {
  constexpr size_t kMost = 65'536;
  const auto identity = identity_of(folder);
  const std::lock_guard lock(mutex_);
  if (lasting_.size() >= kMost) lasting_.clear();
  if (identity) lasting_.insert(*identity);
}

}  // namespace thaw::disk
