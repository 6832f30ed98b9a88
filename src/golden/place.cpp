#include "golden/place.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "golden/subvolume.h"

namespace thaw::golden {
namespace {

constexpr size_t kMostRecordBytes = 1024 * 1024;
constexpr int64_t kSecondNs = 1'000'000'000;

Result<std::string> small_text(const std::string& path) {
  THAW_ASSIGN(const ByteVector bytes, read_file(path, kMostRecordBytes));
  return std::string(as_text(bytes.view()));
}

Result<> make_private(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return errno_error(errno, "create " + path);
}

}  // namespace

bool is_network_filesystem(uint64_t type) {
  // NFS, SMB, CIFS, SMB2, 9p, AFS (two clients), Coda: the kernel's magic numbers.
  constexpr std::array<uint64_t, 8> kTypes = {0x6969,     0x517b,     0xff534d42, 0xfe534d42,
                                              0x01021997, 0x5346414f, 0x6b414653, 0x73757245};
  return std::find(kTypes.begin(), kTypes.end(), type & 0xffffffffU) != kTypes.end();
}

Result<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), &std::free);
  if (!real) return errno_error(errno, "resolve " + path);
  return std::string(real.get());
}

bool is_at_or_below(const std::string& path, const std::string& folder) {
  if (folder == "/" || path == folder) return true;
  return path.starts_with(folder + "/");
}

Result<Root> open_root(const std::string& path, Writers writers) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    const size_t slash = path.rfind('/');
    if (slash != std::string::npos && slash > 0) {
      THAW_CHECK(make_directories(path.substr(0, slash)).within("make the golden root"));
    }
    THAW_CHECK(make_private(path).within("make the golden root"));
  }
  THAW_ASSIGN(std::string real, real_path(path));
  struct statfs found {};
  if (::statfs(real.c_str(), &found) != 0) return errno_error(errno, "statfs " + real);
  if (writers == Writers::several_machines &&
      is_network_filesystem(static_cast<uint64_t>(found.f_type))) {
    return Error(Code::invalid, "the golden root " + real +
                                    " is on a network filesystem, whose locks may be each "
                                    "machine's own: --single-writer if no other machine uses it");
  }
  return Root{std::move(real)};
}

std::vector<Name> names_in(const Root& root) {
  std::vector<Name> names;
  const auto entries = list_folder(root.path);
  if (!entries) return names;
  for (const std::string& entry : *entries) {
    auto name = Name::parse(entry);
    if (name && Place(root, *name).exists()) names.push_back(*std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<> check_apart(const Root& root, const std::string& path, const char* what) {
  if (is_at_or_below(path, root.path))
    return Error(Code::invalid,
                 fmt::format("{} {} lies in the golden root {}", what, path, root.path));
  if (is_at_or_below(root.path, path))
    return Error(Code::invalid,
                 fmt::format("the golden root {} lies in {} {}", root.path, what, path));
  return {};
}

Result<> check_unprotected(const std::string& path, const std::vector<ProtectedPath>& paths,
                           const char* verb) {
  for (const ProtectedPath& each : paths) {
    const bool in_it = each.nor_inside && is_at_or_below(path, each.path);
    if (!in_it && !is_at_or_below(each.path, path)) continue;
    return Error(Code::invalid,
                 fmt::format("{} {} {} ({}): it is not {}", path, in_it ? "lies in" : "is or holds",
                             each.what, each.path, verb));
  }
  return {};
}

Place::Place(const Root& root, Name name)
    : name_(std::move(name)),
      path_(root.path + "/" + name_.text()),
      builds_around_(root.builds_around) {}

bool Place::is_built_around_us() const {
  return (":" + builds_around_).find(":" + name_.text() + ":") != std::string::npos;
}

bool Place::exists() const {
  struct stat status {};
  return ::stat(lock_path().c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

Result<> Place::make() const {
  if (exists()) return {};
  THAW_CHECK(make_private(path_));
  THAW_CHECK(make_private(clones()));
  THAW_CHECK(make_private(overlays()));
  // Last, for a folder with a lock is a golden's.
  return make_lock_file(lock_path());
}

Result<Pointer> Place::pointer() const {
  auto text = small_text(path_of("current.json"));
  if (!text && text.error().code() == Code::not_found) return Pointer{};
  if (!text) return std::move(text).error();
  return read_pointer(*text).within(path_);
}

Result<> Place::set_pointer(const Pointer& pointer) const {
  return replace_file(path_of("current.json"), write_pointer(pointer));
}

Result<Description> Place::description(uint64_t generation) const {
  THAW_ASSIGN(const std::string text, small_text(path_of(generation) + "/golden.json"));
  return read_description(text).within(path_of(generation));
}

Result<std::vector<uint64_t>> Place::generations() const {
  THAW_ASSIGN(const auto entries, list_folder(path_));
  std::vector<uint64_t> numbers;
  for (const std::string& entry : entries) {
    if (const auto number = parse_generation(entry)) numbers.push_back(*number);
  }
  std::sort(numbers.rbegin(), numbers.rend());
  return numbers;
}

void Place::touch(uint64_t generation) const {
  const auto fd = open_path(path_of(generation) + "/used", O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
  if (fd) ::futimens(fd->get(), nullptr);
}

int64_t Place::last_use_ns(uint64_t generation) const {
  struct stat status {};
  if (::stat((path_of(generation) + "/used").c_str(), &status) != 0) return 0;
  return status.st_mtim.tv_sec * kSecondNs + status.st_mtim.tv_nsec;
}

Result<> replace_file(const std::string& path, std::string_view text) {
  const std::string fresh = path + ".new";
  {
    THAW_ASSIGN(const UniqueFd fd,
                open_path(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
    THAW_CHECK(write_all(fd.get(), as_bytes(text), fresh));
    if (::fsync(fd.get()) != 0) return errno_error(errno, "sync " + fresh);
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return errno_error(errno, "rename " + fresh);
  return sync_folder(path.substr(0, path.rfind('/')));
}

Result<> sync_folder(const std::string& path) {
  THAW_ASSIGN(const UniqueFd fd, open_path(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return errno_error(errno, "sync " + path);
  return {};
}

Result<std::vector<std::string>> list_folder(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), &::closedir);
  if (!folder) return errno_error(errno, "list " + path);
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(folder.get());
    if (entry == nullptr && errno != 0) return errno_error(errno, "list " + path);
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

FolderId folder_id_of(const std::string& path, bool& is_there) {
  struct statx found {};
  is_there = ::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME,
                     &found) == 0 &&
             S_ISDIR(found.stx_mode);
  FolderId id;
  if (!is_there) return id;
  id.device = gnu_dev_makedev(found.stx_dev_major, found.stx_dev_minor);
  id.inode = found.stx_ino;
  if ((found.stx_mask & STATX_BTIME) != 0)
    id.born_ns = found.stx_btime.tv_sec * kSecondNs + found.stx_btime.tv_nsec;
  // A snapshot's top is as old as what it was made of, and all of them have one inode number.
  if (auto subvolume = subvolume_at(path)) id.subvolume = std::move(subvolume->uuid);
  return id;
}

Result<Room> room_at(const std::string& path) {
  struct statvfs found {};
  if (::statvfs(path.c_str(), &found) != 0)
    return errno_error(errno, "look how much of " + path + " is free");
  return Room{.free_bytes = found.f_bavail * found.f_frsize,
              .all_bytes = found.f_blocks * found.f_frsize};
}

Result<> check_room(const std::string& path, double min_free) {
  if (min_free <= 0) return {};
  THAW_ASSIGN(const Room room, room_at(path));
  const double share = room.all_bytes == 0 ? 0
                                           : static_cast<double>(room.free_bytes) /
                                                 static_cast<double>(room.all_bytes);
  if (share >= min_free) return {};
  return Error(Code::exhausted, fmt::format("{:.1f}% of the filesystem of {} is free, and {:.1f}% "
                                            "has to be",
                                            share * 100, path, min_free * 100));
}

}  // namespace thaw::golden
