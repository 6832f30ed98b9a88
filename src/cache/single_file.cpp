#include "cache/single_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/fd.h"

namespace thaw::cache {
namespace {

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<> copy_file(const Context& context, const std::string& from, const std::string& to) {
  THAW_ASSIGN(const UniqueFd source, open_path(from, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat status {};
  if (::fstat(source.get(), &status) != 0) return errno_error(errno, "look at " + from);
  THAW_ASSIGN(const UniqueFd target,
              open_path(to, O_WRONLY | O_CREAT | O_EXCL, status.st_mode & 07777U));
  ByteVector buffer(size_t{1} << 20);
  for (uint64_t offset = 0;;) {
    THAW_CHECK(context.alive());
    THAW_ASSIGN(const size_t n, pread_up_to(source.get(), buffer.span(), offset, from));
    THAW_CHECK(write_all(target.get(), buffer.view().first(n), to));
    offset += n;
    if (n < buffer.size()) break;
  }
  const struct timespec times[2] = {status.st_atim, status.st_mtim};
  if (::futimens(target.get(), times) != 0) return errno_error(errno, "set the times of " + to);
  return {};
}

}  // namespace

Result<FileStage> stage_for(const Context& context, const std::string& path) {
  const std::string parent = parent_of(path);
  THAW_CHECK(make_directories(parent));
  THAW_ASSIGN(Stage stage, Stage::make(context, parent));
  if (::mkdirat(stage.fd(), "tree", 0755) != 0)
    return errno_error(errno, "create a folder in the stage");
  std::string tree = parent + (parent.ends_with('/') ? "" : "/") + stage.name() + "/tree";
  return FileStage{std::move(stage), std::move(tree)};
}

Result<FileStage> stage_with(const Context& context, const std::string& path,
                             const std::string& name) {
  THAW_ASSIGN(FileStage made, stage_for(context, path));
  const std::string staged = made.tree + "/" + name;
  // A link costs nothing. The kernel may refuse one to a file of somebody else's.
  if (::linkat(AT_FDCWD, path.c_str(), AT_FDCWD, staged.c_str(), AT_SYMLINK_FOLLOW) != 0)
    THAW_CHECK(copy_file(context, path, staged));
  // One time, so that the same file is the same snapshot.
  const struct timespec epoch[2] = {{0, 0}, {0, 0}};
  if (::utimensat(AT_FDCWD, made.tree.c_str(), epoch, 0) != 0)
    return errno_error(errno, "set the time of the stage");
  return made;
}

Result<> put_in_place(const FileStage& from, const std::string& name, const std::string& path) {
  const std::string staged = from.tree + "/" + name;
  struct stat status {};
  if (::lstat(staged.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return Error(Code::corrupt, "the snapshot of " + path + " does not hold that file");
  }
  if (::rename(staged.c_str(), path.c_str()) != 0)
    return errno_error(errno, "put " + path + " in place");
  return {};
}

}  // namespace thaw::cache
