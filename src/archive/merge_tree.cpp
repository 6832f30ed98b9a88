#include "archive/merge_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/beneath.h"

namespace thaw::archive {
namespace {

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

Result<std::set<std::string>> names_in(int folder) {
  THAW_ASSIGN(UniqueFd fd, open_at(folder, ".", O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, CloseFolder> listing(::fdopendir(fd.get()));
  if (!listing) return errno_error(errno, "list a folder");
  static_cast<void>(fd.release());
  std::set<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(listing.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.insert(name);
  }
  if (errno != 0) return errno_error(errno, "list a folder");
  return names;
}

bool is_folder(int at, const std::string& name) {
  struct stat status {};
  return ::fstatat(at, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

class Merge {
 public:
  Merge(const Context& context, const Stage& stage, int tree, int target, Extra extra,
        bool& applied)
      : context_(context),
        stage_(stage),
        tree_(tree),
        target_(target),
        extra_(extra),
        applied_(applied) {}

  Result<MergeTotals> run() {
    folders_.emplace_back();
    // Folders that both have are appended as they are met.
    for (size_t i = 0; i < folders_.size(); ++i) {
      THAW_CHECK(merge_folder(i).within("the target"));
    }
    // The deepest first: what is changed in one changes its time.
    for (size_t i = folders_.size(); i-- > 1;) THAW_CHECK(give_attributes(folders_[i]));
    return totals_;
  }

 private:
  struct Folder {
    std::string path;
    struct stat fresh {};  // as the archive has it
  };

  Result<> merge_folder(size_t number) {
    const std::string path = folders_[number].path;
    THAW_ASSIGN(const UniqueFd fresh, open_beneath(tree_, path, O_RDONLY | O_DIRECTORY));
    THAW_ASSIGN(const UniqueFd old, open_beneath(target_, path, O_RDONLY | O_DIRECTORY));
    if (::fstat(fresh.get(), &folders_[number].fresh) != 0)
      return errno_error(errno, "stat " + path);
    THAW_CHECK(make_writable(fresh.get()));
    THAW_CHECK(make_writable(old.get()));
    THAW_ASSIGN(const std::set<std::string> names, names_in(fresh.get()));
    for (const std::string& name : names) {
      THAW_CHECK(context_.alive());
      const bool brings_folder = is_folder(fresh.get(), name);
      if (brings_folder && is_folder(old.get(), name)) {
        std::string below = path;
        if (!below.empty()) below += '/';
        folders_.push_back({below.append(name)});
        continue;
      }
      applied_ = true;
      THAW_CHECK(place(fresh.get(), old.get(), name, brings_folder));
    }
    if (extra_ == Extra::stays) return {};
    THAW_ASSIGN(const std::set<std::string> there, names_in(old.get()));
    for (const std::string& name : there) {
      if (names.count(name) != 0 || (path.empty() && name == stage_.name())) continue;
      applied_ = true;
      THAW_CHECK(remove_tree(context_, old.get(), name).within("remove " + name));
      ++totals_.removed;
    }
    return {};
  }

  // What moves to another parent, and what is changed, must be writable to its owner meanwhile.
  static Result<> make_writable(int folder) {
    struct stat status {};
    if (::fstat(folder, &status) != 0) return errno_error(errno, "stat a folder");
    if ((status.st_mode & 0700) == 0700) return {};
    if (::fchmod(folder, (status.st_mode & 07777) | 0700) == 0) return {};
    return errno_error(errno, "change a folder's mode");
  }

  Result<> place(int fresh, int old, const std::string& name, bool brings_folder) {
    ++totals_.placed;
    struct stat status {};
    const bool there = ::fstatat(old, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    // A file takes the place of a file in one step; types that do not go over one another change
    // places, and the old one goes with the stage.
    const bool changes_places = there && (brings_folder || S_ISDIR(status.st_mode));
    const unsigned how = changes_places ? RENAME_EXCHANGE : 0;
    if (::renameat2(fresh, name.c_str(), old, name.c_str(), how) == 0) return {};
    return errno_error(errno, "move " + name + " into place");
  }

  Result<> give_attributes(const Folder& folder) {
    const std::string& name = folder.path;
    THAW_ASSIGN(const UniqueFd fd, open_beneath(target_, folder.path, O_RDONLY | O_DIRECTORY));
    const struct stat& fresh = folder.fresh;
    if (::fchown(fd.get(), fresh.st_uid, fresh.st_gid) != 0 && errno != EPERM) {
      return errno_error(errno, "change the owner of " + name);
    }
    if (::fchmod(fd.get(), fresh.st_mode & 07777) != 0) {
      return errno_error(errno, "change the mode of " + name);
    }
    const struct timespec times[2] = {{0, UTIME_OMIT}, fresh.st_mtim};
    if (::futimens(fd.get(), times) != 0) return errno_error(errno, "change the time of " + name);
    return {};
  }

  const Context& context_;
  const Stage& stage_;
  const int tree_;
  const int target_;
  const Extra extra_;
  bool& applied_;
  std::vector<Folder> folders_;  // that both have, parents first
  MergeTotals totals_;
};

}  // namespace

Result<MergeTotals> merge_tree(const Context& context, const Stage& stage, int tree, int target,
                               Extra extra, bool& applied) {
  return Merge(context, stage, tree, target, extra, applied).run();
}

}  // namespace thaw::archive
