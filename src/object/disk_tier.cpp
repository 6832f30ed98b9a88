#include "object/disk_tier.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <set>
#include <vector>

#include "base/fd.h"
#include "format/checksum.h"
#include "format/tier_block.h"
#include "object/disk.h"

namespace thaw {
namespace {

constexpr const char* kClaimsName = "claims";

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

// What a folder holds; empty when it is not there.
Result<std::vector<std::string>> names_in(const std::string& path) {
  auto fd = open_path(path, O_RDONLY | O_DIRECTORY);
  if (!fd && fd.error().code() == Code::not_found) return std::vector<std::string>();
  if (!fd) return std::move(fd).error();
  const std::unique_ptr<DIR, CloseFolder> folder(::fdopendir(fd->get()));
  if (!folder) return errno_error(errno, "read folder " + path);
  static_cast<void>(fd->release());
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(folder.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  if (errno != 0) return errno_error(errno, "read folder " + path);
  return names;
}

bool is_store_name(const std::string& name) {
  return name.size() == 16 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// Anything may lie under the marker's name. Who opens a pipe waits for its writer, before signals
// and time limits are looked at; a device has no end.
Result<> check_marker(const std::string& path) {
  THAW_ASSIGN(const UniqueFd file, open_path(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return errno_error(errno, "stat " + path);
  if (!S_ISREG(status.st_mode)) return Error(Code::invalid, path + " is no regular file");
  ByteVector marker(kTierMarkerBytes + 1);
  THAW_ASSIGN(const size_t n, pread_up_to(file.get(), marker.span(), 0, path));
  return check_tier_marker(marker.view().first(n));
}

// A machine that lost its power may leave the marker empty, for tiers are not synced. It goes, as
// far as it can be removed, and the next fill writes it anew.
bool removes_empty_marker(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return false;
  if (!S_ISREG(status.st_mode) || status.st_size != 0) return false;
  return ::unlink(path.c_str()) == 0;
}

// Whether a directory without a marker is a tier's all the same: somebody emptied it while it was
// used, or the first fill was interrupted.
Result<> check_names(const std::string& directory, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    bool ours =
        name == "lost+found" || name == kClaimsName || name == ".tmp" || is_tier_index_name(name);
    if (name == "blocks") {
      THAW_ASSIGN(const auto stores, names_in(directory + "/blocks"));
      ours = std::all_of(stores.begin(), stores.end(), is_store_name);
    }
    if (!ours) {
      return Error(Code::invalid,
                   fmt::format("{} holds files that are no thaw tier's, like {}", directory, name));
    }
  }
  return {};
}

// One open file for all claims: locks of one open file do not exclude each other, so what this
// process holds is kept beside them.
class DiskClaims final : public BlockClaims {
 public:
  explicit DiskClaims(std::string directory) : directory_(std::move(directory)) {}

  Result<std::unique_ptr<Claim>> try_claim(std::string_view block) override {
    // Below 2^62, as off_t wants it. Blocks that share a byte wait for each other, no more.
    const auto byte = static_cast<off_t>(checksum64(as_bytes(block)) >> 2);
    const std::lock_guard lock(mutex_);
    if (held_.contains(byte)) return std::unique_ptr<Claim>();
    if (!file_.valid()) THAW_CHECK(open_file());
    THAW_ASSIGN(const bool locked, set_lock(F_WRLCK, byte));
    if (!locked) return std::unique_ptr<Claim>();
    held_.insert(byte);
    return std::unique_ptr<Claim>(std::make_unique<DiskClaim>(*this, byte));
  }

 private:
  class DiskClaim final : public Claim {
   public:
    DiskClaim(DiskClaims& claims, off_t byte) : claims_(claims), byte_(byte) {}
    ~DiskClaim() override { claims_.release(byte_); }

   private:
    DiskClaims& claims_;
    const off_t byte_;
  };

  Result<> open_file() {
    THAW_CHECK(make_directories(directory_));
    const std::string path = directory_ + "/" + kClaimsName;
    THAW_ASSIGN(file_, open_path(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0666));
    return {};
  }

  // False when somebody else has it.
  Result<bool> set_lock(short type, off_t byte) const {
    struct flock range {};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_start = byte;
    range.l_len = 1;
    while (::fcntl(file_.get(), F_OFD_SETLK, &range) != 0) {
      if (errno == EAGAIN || errno == EACCES) return false;
      if (errno != EINTR) return errno_error(errno, "lock a byte of " + directory_ + "/claims");
    }
    return true;
  }

  void release(off_t byte) {
    const std::lock_guard lock(mutex_);
    held_.erase(byte);
    // Without an unlock, others wait for as long as they would for a slow fetch.
    static_cast<void>(set_lock(F_UNLCK, byte));
  }

  const std::string directory_;
  std::mutex mutex_;
  UniqueFd file_;
  std::set<off_t> held_;
};

}  // namespace

// What SQLite keeps beside an index belongs to it.
bool is_tier_index_name(std::string_view name) {
  if (!name.starts_with(kTierIndexName)) return false;
  name.remove_prefix(kTierIndexName.size());
  return name.empty() || name == "-wal" || name == "-shm";
}

Result<DiskTier> open_disk_tier(std::string directory) {
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  const std::string what = "open the tier " + directory;
  auto store = open_disk_store(directory, Durability::none);
  if (!store) return std::move(store).error().within(what);
  auto names = names_in(directory);
  if (!names) return std::move(names).error().within(what);
  const std::string marker = directory + "/" + std::string(kTierMarkerName);
  bool marked = std::find(names->begin(), names->end(), kTierMarkerName) != names->end();
  if (marked) {
    auto others = *names;
    std::erase(others, kTierMarkerName);
    // Only among a tier's own files it is surely ours.
    if (check_names(directory, others) && removes_empty_marker(marker)) {
      marked = false;
      *names = std::move(others);
    }
  }
  auto checked = marked ? check_marker(marker) : check_names(directory, *names);
  if (!checked && marked && checked.error().code() == Code::corrupt) {
    checked = Error(Code::invalid, checked.error().text());
  }
  if (!checked) return std::move(checked).error().within(what);
  return DiskTier{*std::move(store), std::make_unique<DiskClaims>(directory)};
}

}  // namespace thaw
