// File descriptors with an owner, and whole reads and writes through them.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"

namespace thaw {

// Owns one descriptor; closes it. Move-only.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void reset();
  // Leaves closing it to the caller.
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// openat(2) with O_CLOEXEC added; `at` may be AT_FDCWD. Errors name the path.
Result<UniqueFd> open_at(int at, const std::string& path, int flags, mode_t mode = 0);
inline Result<UniqueFd> open_path(const std::string& path, int flags, mode_t mode = 0) {
  return open_at(AT_FDCWD, path, flags, mode);
}

// Fewer bytes than asked for only at the end of the file. EINTR is retried. `name` is for errors.
Result<size_t> pread_up_to(int fd, MutableBytes to, uint64_t offset, const std::string& name);
Result<> pwrite_all(int fd, Bytes from, uint64_t offset, const std::string& name);
Result<> write_all(int fd, Bytes from, const std::string& name);

// A whole file of at most `limit_bytes`; larger is Code::exhausted.
Result<ByteVector> read_file(const std::string& path, size_t limit_bytes);

// The same of what is a regular file, or leads to one; anything else is Code::invalid. Never waits:
// opening a FIFO would, for whoever writes into it.
Result<ByteVector> read_regular_file(const std::string& path, size_t limit_bytes);

// mkdir -p: creates `path` and its missing parents (0777 & ~umask).
Result<> make_directories(const std::string& path);

}  // namespace thaw
