#include "archive/archive_sink.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/fd.h"
#include "base/log.h"
#include "object/upload.h"
#include "snapshot/new_file.h"
#include "snapshot/tree_writer.h"

namespace thaw::archive {
namespace {

class FileSink final : public ArchiveSink {
 public:
  // `place` is the folder's path, to which a name can be appended.
  FileSink(UniqueFd folder, std::string place, std::string name, std::string path)
      : folder_(std::move(folder)),
        place_(std::move(place)),
        name_(std::move(name)),
        path_(std::move(path)) {}

  Result<> open() {
    struct stat status {};
    if (::fstatat(folder_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
      if (!S_ISREG(status.st_mode)) return Error(Code::invalid, path_ + " is no regular file");
      size_bytes_ = static_cast<uint64_t>(status.st_size);
      mode_ = status.st_mode & 0777;
    } else if (errno != ENOENT) {
      return errno_error(errno, "stat " + path_);
    } else {
      mode_ = 0666 & ~process_umask();
    }
    THAW_ASSIGN(NewFile file, NewFile::make(folder_.get(), name_));
    file_ = std::make_unique<NewFile>(std::move(file));
    return {};
  }

  Result<std::optional<Previous>> previous() override {
    if (!size_bytes_) return std::optional<Previous>();
    THAW_ASSIGN(const UniqueFd fd, open_at(folder_.get(), name_, O_RDONLY | O_NOFOLLOW));
    std::array<uint8_t, kMagicBytes> first{};
    THAW_ASSIGN(const size_t n, pread_up_to(fd.get(), first, 0, path_));
    return std::optional<Previous>({*size_bytes_, recognise(Bytes(first).first(n))});
  }

  std::vector<std::string> own_paths() const override {
    std::vector<std::string> paths{place_ + name_};
    if (const std::string_view fresh = file_->name(); !fresh.empty()) {
      paths.push_back(place_ + std::string(fresh));
    }
    return paths;
  }

  Result<> append(Bytes bytes) override { return write_all(file_->fd(), bytes, path_); }

  Result<> finish() override {
    if (::fchmod(file_->fd(), mode_) != 0) return errno_error(errno, "change the mode of " + path_);
    if (::fsync(file_->fd()) != 0) return errno_error(errno, "sync " + path_);
    THAW_CHECK(file_->publish());
    if (::fsync(folder_.get()) != 0) return errno_error(errno, "sync the folder of " + path_);
    return {};
  }

  void abandon(const Context& /*farewell*/) override { file_.reset(); }

 private:
  const UniqueFd folder_;
  const std::string place_;
  const std::string name_;
  const std::string path_;
  std::optional<uint64_t> size_bytes_;  // of what is there
  mode_t mode_ = 0;
  std::unique_ptr<NewFile> file_;
};

class ObjectSink final : public ArchiveSink {
 public:
  ObjectSink(const Context& context, ObjectStore& store, MultipartStore& parts,
             const ObjectKey& key, unsigned uploads)
      : context_(context), store_(store), key_(key), upload_(context, store, parts, key, uploads) {}

  Result<std::optional<Previous>> previous() override {
    auto found = store_.find(context_, key_);
    if (!found && found.error().code() == Code::denied) {
      log::warn("what is at {} may not be read, so its size is not compared", key_.text());
      return std::optional<Previous>();
    }
    THAW_ASSIGN(const auto info, std::move(found));
    if (!info) return std::optional<Previous>();
    Previous there{info->size_bytes, Compression::none};
    if (info->size_bytes == 0) return std::optional(there);
    const auto range = ByteRange::of(0, std::min<uint64_t>(kMagicBytes, info->size_bytes));
    THAW_ASSIGN(const Fetched first, store_.get(context_, key_, range, Freshness::any));
    there.compression = recognise(first.bytes.view());
    return std::optional(there);
  }

  std::vector<std::string> own_paths() const override { return {}; }
  Result<> append(Bytes bytes) override { return upload_.append(bytes); }
  Result<> finish() override { return upload_.finish(); }

  void abandon(const Context& farewell) override {
    const auto gone = upload_.abandon(farewell);
    if (!gone)
      log::warn("parts of {} may stay in the bucket: {}", key_.text(), gone.error().text());
  }

 private:
  const Context& context_;
  ObjectStore& store_;
  const ObjectKey key_;
  Upload upload_;
};

}  // namespace

Result<std::unique_ptr<ArchiveSink>> file_sink(const std::string& path) {
  // Who names a link means what it leads to.
  std::string place = path;
  if (char* real = ::realpath(path.c_str(), nullptr)) {
    place = real;
    std::free(real);
  }
  const size_t slash = place.rfind('/');
  const std::string folder = slash == std::string::npos ? "./" : place.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? place : place.substr(slash + 1);
  if (name.empty() || name == "." || name == "..") {
    return Error(Code::invalid, path + " names no file");
  }
  THAW_ASSIGN(UniqueFd fd, open_path(folder, O_RDONLY | O_DIRECTORY));
  auto sink = std::make_unique<FileSink>(std::move(fd), folder, name, path);
  THAW_CHECK(sink->open());
  return std::unique_ptr<ArchiveSink>(std::move(sink));
}

std::unique_ptr<ArchiveSink> object_sink(const Context& context, ObjectStore& store,
                                         MultipartStore& parts, const ObjectKey& key,
                                         unsigned uploads) {
  return std::make_unique<ObjectSink>(context, store, parts, key, uploads);
}

}  // namespace thaw::archive
