#include "golden/copy_content.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.h"

namespace thaw::golden {
namespace {

// Shorter runs cost less by read and write than by asking the filesystem to copy them.
constexpr uint64_t kLongRunBytes = 1024 * 1024;
// Between two looks at the context.
constexpr uint64_t kStepBytes = 64 * 1024 * 1024;

bool not_offered(int error) {
  return error == EOPNOTSUPP || error == EXDEV || error == EINVAL || error == ENOTTY ||
         error == ENOSYS || error == EPERM || error == EBADF || error == ETXTBSY;
}

Error shorter(const std::string& name) {
  return {Code::busy, name + " became shorter while it was copied"};
}

// Whether it was done.
Result<bool> share_blocks(int from, int to, CopyWays& ways, const std::string& name) {
  if (!ways.reflink_works.load(std::memory_order_relaxed)) return false;
  if (::ioctl(to, FICLONE, from) == 0) return true;
  if (!not_offered(errno)) return errno_error(errno, "share the blocks of " + name);
  // EINVAL may be this file's own (one without copy-on-write on btrfs); the others are of the
  // place.
  if (errno != EINVAL && errno != ETXTBSY) ways.reflink_works = false;
  return false;
}

struct Run {
  uint64_t begin;
  uint64_t end;
};

// By the filesystem itself, as far as it goes; answers where it stopped.
Result<uint64_t> copy_inside(const Context& context, int from, int to, Run run, CopyWays& ways,
                             const std::string& name) {
  uint64_t at = run.begin;
  while (at < run.end && ways.range_works.load(std::memory_order_relaxed)) {
    THAW_CHECK(context.alive());
    auto in = static_cast<off64_t>(at);
    auto out = in;
    const ssize_t n = ::copy_file_range(from, &in, to, &out, std::min(run.end - at, kStepBytes), 0);
    if (n > 0) {
      at += static_cast<uint64_t>(n);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && !not_offered(errno)) return errno_error(errno, "copy " + name);
    // Some kernels answer 0 where they cannot.
    ways.range_works = false;
  }
  return at;
}

Result<> copy_run(const Context& context, int from, int to, Run run, CopyWays& ways,
                  MutableBytes scratch, const std::string& name) {
  uint64_t at = run.begin;
  if (run.end - run.begin >= kLongRunBytes) {
    THAW_ASSIGN(at, copy_inside(context, from, to, run, ways, name));
  }
  while (at < run.end) {
    THAW_CHECK(context.alive());
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(run.end - at, scratch.size()));
    THAW_ASSIGN(const size_t n, pread_up_to(from, scratch.first(wanted), at, name));
    if (n == 0) return shorter(name);
    THAW_CHECK(pwrite_all(to, scratch.first(n), at, name));
    at += n;
  }
  return {};
}

Result<> copy_runs(const Context& context, int from, int to, uint64_t size, CopyWays& ways,
                   MutableBytes scratch, const std::string& name) {
  if (::ftruncate(to, static_cast<off_t>(size)) != 0)
    return errno_error(errno, "make room for " + name);
  for (uint64_t at = 0; at < size;) {
    const off_t begin = ::lseek(from, static_cast<off_t>(at), SEEK_DATA);
    if (begin < 0 && errno == ENXIO) return {};  // a hole to the end
    if (begin < 0) return copy_run(context, from, to, {at, size}, ways, scratch, name);
    off_t end = ::lseek(from, begin, SEEK_HOLE);
    if (end < 0) end = static_cast<off_t>(size);
    const Run run{static_cast<uint64_t>(begin), std::min(static_cast<uint64_t>(end), size)};
    if (run.begin >= size) return {};
    THAW_CHECK(copy_run(context, from, to, run, ways, scratch, name));
    at = run.end;
  }
  return {};
}

}  // namespace

Result<> copy_content(const Context& context, int from, int to, uint64_t size_bytes, bool sparse,
                      CopyWays& ways, MutableBytes scratch, const std::string& name) {
  if (size_bytes == 0) return {};
  THAW_ASSIGN(const bool shared, share_blocks(from, to, ways, name));
  if (shared) {
    ways.reflinked.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
  ways.copied.fetch_add(1, std::memory_order_relaxed);
  if (sparse) return copy_runs(context, from, to, size_bytes, ways, scratch, name);
  return copy_run(context, from, to, {0, size_bytes}, ways, scratch, name);
}

}  // namespace thaw::golden
