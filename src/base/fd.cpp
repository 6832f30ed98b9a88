#include "base/fd.h"

#include <unistd.h>

#include <cerrno>

namespace thaw {

void UniqueFd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<UniqueFd> open_at(int at, const std::string& path, int flags, mode_t mode) {
  while (true) {
    const int fd = ::openat(at, path.c_str(), flags | O_CLOEXEC, mode);
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EINTR) return errno_error(errno, "open " + path);
  }
}

Result<size_t> pread_up_to(int fd, MutableBytes to, uint64_t offset, const std::string& name) {
  size_t done = 0;
  while (done < to.size()) {
    const ssize_t n =
        ::pread(fd, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (n == 0) break;
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno, "read " + name);
    }
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<> pwrite_all(int fd, Bytes from, uint64_t offset, const std::string& name) {
  size_t done = 0;
  while (done < from.size()) {
    const ssize_t n =
        ::pwrite(fd, from.data() + done, from.size() - done, static_cast<off_t>(offset + done));
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno, "write " + name);
    }
    done += static_cast<size_t>(n);
  }
  return {};
}

Result<> write_all(int fd, Bytes from, const std::string& name) {
  size_t done = 0;
  while (done < from.size()) {
    const ssize_t n = ::write(fd, from.data() + done, from.size() - done);
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno_error(errno, "write " + name);
    }
    done += static_cast<size_t>(n);
  }
  return {};
}

namespace {

// All that can be read of `fd`, of which `status` was told.
Result<ByteVector> read_all(const UniqueFd& fd, const struct stat& status, const std::string& path,
                            size_t limit_bytes) {
  if (static_cast<uint64_t>(status.st_size) > limit_bytes) {
    return Error(Code::exhausted, path + " is larger than the limit of " + human_size(limit_bytes));
  }
  // Reads to the end, not to the size: a pipe says 0, and a file may grow meanwhile.
  // The byte more lets a file of that very size end without growing the buffer.
  ByteVector bytes(static_cast<size_t>(status.st_size) + 1);
  size_t done = 0;
  while (true) {
    if (done == bytes.size()) bytes.resize(done + 4096);
    const ssize_t n = ::read(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "read " + path);
    if (n == 0) break;
    done += static_cast<size_t>(n);
    if (done > limit_bytes) {
      return Error(Code::exhausted, path + " grew past the limit of " + human_size(limit_bytes));
    }
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace

Result<ByteVector> read_file(const std::string& path, size_t limit_bytes) {
  THAW_ASSIGN(const UniqueFd fd, open_path(path, O_RDONLY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error(errno, "stat " + path);
  return read_all(fd, status, path, limit_bytes);
}

Result<ByteVector> read_regular_file(const std::string& path, size_t limit_bytes) {
  THAW_ASSIGN(const UniqueFd fd, open_path(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error(errno, "stat " + path);
  if (!S_ISREG(status.st_mode)) return Error(Code::invalid, path + " is not a regular file");
  return read_all(fd, status, path, limit_bytes);
}

namespace {

// mkdir(2), content with a directory that is there already.
int make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) == 0) return 0;
  if (errno != EEXIST) return errno;
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno;
  return S_ISDIR(status.st_mode) ? 0 : EEXIST;
}

}  // namespace

Result<> make_directories(const std::string& path) {
  if (path.empty()) return {};
  int error = make_directory(path);
  if (error == 0) return {};
  if (error != ENOENT) return errno_error(error, "create directory " + path);
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos || slash == 0) {
    return errno_error(ENOENT, "create directory " + path);
  }
  THAW_CHECK(make_directories(path.substr(0, slash)));
  error = make_directory(path);
  if (error == 0) return {};
  return errno_error(error, "create directory " + path);
}

}  // namespace thaw
