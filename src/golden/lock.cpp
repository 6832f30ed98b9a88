#include "golden/lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "base/log.h"
#include "golden/processes.h"

namespace thaw::golden {
namespace {

constexpr std::chrono::milliseconds kBetweenLooks{5};

// Whether it was free. The kernel's own waiting cannot be given a deadline.
Result<bool> take(int fd, Share share, const std::string& path) {
  struct flock range {};
  range.l_type = share == Share::shared ? F_RDLCK : F_WRLCK;
  range.l_whence = SEEK_SET;
  while (::fcntl(fd, F_OFD_SETLK, &range) != 0) {
    if (errno == EAGAIN || errno == EACCES) return false;
    if (errno != EINTR) return errno_error(errno, "lock " + path);
  }
  return true;
}

bool has_the_name(int fd, const std::string& path) {
  struct stat held {};
  struct stat named {};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 &&
         held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

}  // namespace

Result<std::optional<Lock>> try_lock_file(const std::string& path, Share share) {
  while (true) {
    THAW_ASSIGN(UniqueFd fd, open_path(path, O_RDWR | O_NOFOLLOW));
    THAW_ASSIGN(const bool taken, take(fd.get(), share, path));
    if (!taken) return std::optional<Lock>();
    // It may have been renamed or removed between the two calls.
    if (has_the_name(fd.get(), path)) return std::optional<Lock>(Lock(std::move(fd)));
  }
}

Result<Lock> lock_file(const Context& context, const std::string& path, Share share,
                       std::chrono::milliseconds patience) {
  const Context patient = context.within(patience);
  bool said = false;
  while (true) {
    THAW_ASSIGN(std::optional<Lock> lock, try_lock_file(path, share));
    if (lock) return *std::move(lock);
    if (!said) log::info("waiting for {}", path);
    said = true;
    if (pause(patient, kBetweenLooks)) continue;
    // Stopped, rather than tired of waiting.
    auto alive = context.alive();
    if (!alive && alive.error().code() == Code::cancelled) return std::move(alive).error();
    return Error(Code::busy, "waited too long for the lock " + path + ", which " +
                                 text_of(holders_of(path, 5)) + " may hold");
  }
}

Result<> make_lock_file(const std::string& path) {
  THAW_ASSIGN(const UniqueFd fd, open_path(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  return {};
}

Result<> pause(const Context& context, std::chrono::milliseconds time) {
  constexpr std::chrono::milliseconds kStep{50};
  for (auto left = time; left.count() > 0; left -= std::min(left, kStep)) {
    THAW_CHECK(context.alive());
    std::this_thread::sleep_for(std::min(left, kStep));
  }
  return context.alive();
}

}  // namespace thaw::golden
