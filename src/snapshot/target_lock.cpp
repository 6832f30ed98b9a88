#include "snapshot/target_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"

namespace thaw {
namespace {

constexpr useconds_t kPatienceUs = 10'000;

bool is_still_at(int fd, const std::string& path) {
  struct stat held {};
  struct stat named {};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 &&
         held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

Error another_is_at_work(Error why, const std::string& path) {
  const std::string message = "another restore is changing " + path;
  if (why.code() == Code::timeout) return {Code::busy, message + ", and did not end in time"};
  return std::move(why).within(message);
}

}  // namespace

Result<UniqueFd> lock_target(const Context& context, const std::string& path) {
  bool said = false;
  while (true) {
    THAW_ASSIGN(UniqueFd fd, open_path(path, O_RDONLY | O_DIRECTORY));
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) {
        log::info("{} cannot be locked: {}", path, errno_error(errno, "flock").text());
        return fd;
      }
      auto alive = context.alive();
      if (!alive) return another_is_at_work(std::move(alive).error(), path);
      if (!said) log::info("waiting for another restore of {}", path);
      said = true;
      ::usleep(kPatienceUs);
    }
    // It may have been exchanged meanwhile.
    if (is_still_at(fd.get(), path)) return fd;
    THAW_CHECK(context.alive());
  }
}

}  // namespace thaw
