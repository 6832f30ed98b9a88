#include "snapshot/new_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/random.h"

namespace thaw {
namespace {

constexpr std::string_view kPrefix = ".thaw-extract-";

bool is_new_file_name(std::string_view name) {
  if (!name.starts_with(kPrefix)) return false;
  name.remove_prefix(kPrefix.size());
  const auto id = RandomId::parse(name);
  return id && id->hex() == name;
}

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

// As many as can be read.
std::vector<std::string> new_files_in(int folder) {
  std::vector<std::string> names;
  auto fd = open_at(folder, ".", O_RDONLY | O_DIRECTORY);
  if (!fd) return names;
  const std::unique_ptr<DIR, CloseFolder> listing(::fdopendir(fd->get()));
  if (!listing) return names;
  static_cast<void>(fd->release());
  while (const dirent* entry = ::readdir(listing.get())) {
    if (is_new_file_name(entry->d_name)) names.emplace_back(entry->d_name);
  }
  return names;
}

bool is_regular_with_a_name(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink > 0;
}

// Those that no process holds. Where there are no locks none is removed.
void remove_abandoned(int folder) {
  for (const std::string& name : new_files_in(folder)) {
    // Opening a device may do something.
    struct stat status {};
    if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISREG(status.st_mode)) continue;
    const auto fd = open_at(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (!fd || !is_regular_with_a_name(fd->get())) continue;
    if (::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) continue;
    if (::unlinkat(folder, name.c_str(), 0) == 0) {
      log::info("removed {}, which an interrupted extract had left", name);
    }
  }
}

}  // namespace

NewFile::NewFile(int folder, std::string destination)
    : folder_(folder),
      destination_(std::move(destination)),
      name_(std::string(kPrefix) + RandomId::fresh().hex()) {}

NewFile::NewFile(NewFile&& other) noexcept
    : folder_(other.folder_),
      destination_(std::move(other.destination_)),
      name_(std::move(other.name_)),
      fd_(std::move(other.fd_)),
      named_(std::exchange(other.named_, false)) {}

NewFile::~NewFile() {
  if (named_) ::unlinkat(folder_, name_.c_str(), 0);
}

Result<NewFile> NewFile::make(int folder, const std::string& destination) {
  remove_abandoned(folder);
  // Between its making and its lock another process may take a file for abandoned.
  constexpr int kAttempts = 10;
  for (int i = 0; i < kAttempts; ++i) {
    NewFile file(folder, destination);
    THAW_ASSIGN(const bool ours, file.create());
    if (ours) return file;
  }
  return Error(Code::busy, "make a file beside " + destination + ": others remove it");
}

Result<bool> NewFile::create() {
  auto nameless = open_at(folder_, ".", O_WRONLY | O_TMPFILE, 0600);
  if (nameless) {
    fd_ = *std::move(nameless);
    // For the moment in which it has a name of ours.
    static_cast<void>(::flock(fd_.get(), LOCK_EX | LOCK_NB));
    return true;
  }
  THAW_ASSIGN(fd_, open_at(folder_, name_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  named_ = true;
  // A filesystem without locks is one on which nobody removes what others left.
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
  return is_regular_with_a_name(fd_.get());
}

Result<> NewFile::publish() {
  if (!named_) {
    const std::string open_file = "/proc/self/fd/" + std::to_string(fd_.get());
    if (::linkat(AT_FDCWD, open_file.c_str(), folder_, name_.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      return errno_error(errno, "give " + destination_ + " a name");
    }
    named_ = true;
  }
  if (::renameat(folder_, name_.c_str(), folder_, destination_.c_str()) != 0) {
    return errno_error(errno, "move " + destination_ + " into place");
  }
  named_ = false;
  return {};
}

}  // namespace thaw
