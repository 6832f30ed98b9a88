#include "golden/scrub.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <memory>
#include <string_view>
#include <vector>

#include "base/beneath.h"
#include "golden/walk.h"
#include "snapshot/stage.h"

namespace thaw::golden {
namespace {

struct Entry {
  std::string name;
  unsigned char type;
};

// All of a folder, read before anything in it is removed.
Result<std::vector<Entry>> entries_of(int folder, const std::string& name) {
  THAW_ASSIGN(UniqueFd fd, open_at(folder, ".", O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(fd.get()), &::closedir);
  if (!listing) return errno_error(errno, "list " + name);
  static_cast<void>(fd.release());
  std::vector<Entry> entries;
  while (const dirent* entry = ::readdir(listing.get())) {
    const std::string_view each = entry->d_name;
    if (each != "." && each != "..") entries.push_back({std::string(each), entry->d_type});
  }
  return entries;
}

bool is_folder(int at, const Entry& entry) {
  if (entry.type != DT_UNKNOWN) return entry.type == DT_DIR;
  struct stat status {};
  return ::fstatat(at, entry.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISDIR(status.st_mode);
}

}  // namespace

Result<uint64_t> scrub(const Context& context, const std::string& path, const Globs& globs,
                       unsigned threads) {
  if (globs.empty()) return uint64_t{0};
  THAW_ASSIGN(const UniqueFd root, open_path(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  std::atomic<uint64_t> removed{0};
  auto visit = [&](const Context& inner, unsigned, const std::string& folder,
                   std::vector<std::string>& folders) -> Result<> {
    THAW_ASSIGN(const UniqueFd fd, open_beneath(root.get(), folder, O_RDONLY | O_DIRECTORY));
    THAW_ASSIGN(const std::vector<Entry> entries, entries_of(fd.get(), path + "/" + folder));
    for (const Entry& entry : entries) {
      std::string below = folder.empty() ? entry.name : folder + "/" + entry.name;
      if (globs.match(below)) {
        THAW_CHECK(remove_tree(inner, fd.get(), entry.name));
        ++removed;
      } else if (is_folder(fd.get(), entry)) {
        folders.push_back(std::move(below));
      }
    }
    return {};
  };
  THAW_CHECK(walk_folders(context, threads, visit));
  return removed.load();
}

}  // namespace thaw::golden
