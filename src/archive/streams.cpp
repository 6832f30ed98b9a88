#include "archive/streams.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/fd.h"
#include "object/object_reader.h"

namespace thaw::archive {
namespace {

constexpr size_t kFileBlockBytes = 1024 * 1024;
constexpr int kLookMs = 20;
// Blocks that wait: of 4 MiB before decompression (an object's pieces), of 256 KiB after it, or of
// whatever is not compressed.
constexpr size_t kStoredBlocks = 2;
constexpr size_t kPlainBlocks = 8;

Result<> stream_file(const Context& context, const std::string& path, const BlockSink& sink) {
  // A pipe that nobody writes to must not hold us up past the deadline.
  THAW_ASSIGN(const UniqueFd fd, open_path(path, O_RDONLY | O_NOCTTY | O_NONBLOCK));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return errno_error(errno, "stat " + path);
  if (S_ISDIR(status.st_mode)) return Error(Code::invalid, path + " is a directory");
  if (S_ISREG(status.st_mode)) {
    ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  while (true) {
    THAW_CHECK(context.alive());
    struct pollfd ready {
      fd.get(), POLLIN, 0
    };
    if (!S_ISREG(status.st_mode) && ::poll(&ready, 1, kLookMs) == 0) continue;
    ByteVector block(kFileBlockBytes);
    const ssize_t n = ::read(fd.get(), block.data(), block.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return errno_error(errno, "read " + path);
    if (n == 0) return {};
    block.resize(static_cast<size_t>(n));
    THAW_CHECK(sink(Buffer(std::move(block))));
  }
}

}  // namespace

BlockStream file_stream(std::string path) {
  return [path = std::move(path)](const Context& context, const BlockSink& sink) {
    return stream_file(context, path, sink);
  };
}

BlockStream object_stream(ObjectStore& store, ObjectKey key) {
  return [&store, key = std::move(key)](const Context& context, const BlockSink& sink) -> Result<> {
    THAW_ASSIGN(const auto reader, open_object_at(context, store, key, 0, UINT64_MAX));
    return reader->stream(context, 0, UINT64_MAX,
                          [&](Bytes bytes) { return sink(Buffer::copy_of(bytes)); });
  };
}

Decompressing::Decompressing(const Context& context, BlockStream source)
    : source_(std::move(source)),
      stored_(kStoredBlocks),
      plain_(kPlainBlocks),
      group_(context, 2, 2) {
  // Errors go down the pipes: each is told where the stream ends, after what came before it.
  const auto end_of = [](const Result<>& done) {
    return done ? std::nullopt : std::optional<Error>(done.error());
  };
  group_.submit([this, end_of](const Context& inner) -> Result<> {
    const auto done = source_(inner, [&](Buffer block) {
      fetched_ += block.size();
      return stored_.push(inner, std::move(block));
    });
    stored_.close(end_of(done));
    return {};
  });
  group_.submit([this, end_of](const Context& inner) -> Result<> {
    const auto done = decompress(
        inner, [this](const Context& asking) { return stored_.pull(asking); },
        [&](Buffer block) { return plain_.push(inner, std::move(block)); }, &compression_);
    stored_.leave();
    plain_.close(end_of(done));
    return {};
  });
}

Decompressing::~Decompressing() {
  stored_.leave();
  plain_.leave();
  group_.stop_and_join();
}

}  // namespace thaw::archive
