#include "object/disk_list.h"

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>

#include "object/disk_tree.h"

namespace thaw::disk {
namespace {

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;

class Lister {
 public:
  Lister(const Context& context, std::string_view prefix, const ListOptions& options)
      : context_(context), prefix_(prefix), after_(options.after), wanted_(options.limit + 1) {}

  // Adds what lies in `folder`, whose objects' names begin with `path` ("" or "a/b/").
  Result<> walk(UniqueFd folder, const std::string& path);
  ListPage page() &&;

 private:
  Result<std::vector<std::string>> candidates(DIR* folder, const std::string& path) const;
  Result<bool> is_folder(DIR* folder, const dirent& entry) const;
  Result<> add_object(int folder, const std::string& path, const std::string& leaf);
  bool full() const { return page_.objects.size() == wanted_; }

  // Whether a name may be on the page; `folder` ends in '/' and stands for all names below it.
  bool wants_object(std::string_view name) const {
    return name > after_ && name.starts_with(prefix_);
  }
  bool wants_folder(std::string_view folder) const {
    return (folder > after_ || after_.starts_with(folder)) &&
           (folder.starts_with(prefix_) || prefix_.starts_with(folder));
  }

  const Context& context_;
  const std::string_view prefix_;
  const std::string_view after_;
  const size_t wanted_;  // one more than the page holds tells whether there is more
  ListPage page_;
};

Result<bool> Lister::is_folder(DIR* folder, const dirent& entry) const {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_DIR;
  struct stat status {};
  if (::fstatat(::dirfd(folder), entry.d_name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
    return S_ISDIR(status.st_mode);
  }
  if (errno == ENOENT) return false;
  return errno_error(errno, std::string("stat ") + entry.d_name);
}

// The entries that may be, or lead to, wanted names. A folder's entry ends in '/', which is how all
// names below it compare: "a.b" < "a/x" < "a0".
Result<std::vector<std::string>> Lister::candidates(DIR* folder, const std::string& path) const {
  std::vector<std::string> entries;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(folder);
    if (entry == nullptr) break;
    const std::string_view leaf = entry->d_name;
    if (leaf == "." || leaf == ".." || (path.empty() && leaf == kTempFolder)) continue;
    const std::string name = path + entry->d_name;
    if (!wants_object(name) && !wants_folder(name + '/')) continue;
    THAW_ASSIGN(const bool descend, is_folder(folder, *entry));
    // Whatever lies below a folder whose name is too long is no object either.
    const bool valid = ObjectKey::parse(name).ok();
    if (valid && (descend ? wants_folder(name + '/') : wants_object(name))) {
      entries.push_back(descend ? entry->d_name + std::string("/") : entry->d_name);
    }
  }
  if (errno != 0) return errno_error(errno, "read folder " + path);
  return entries;
}

Result<> Lister::add_object(int folder, const std::string& path, const std::string& leaf) {
  struct stat status {};
  if (::fstatat(folder, leaf.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return errno_error(errno, "stat " + path + leaf);
  }
  if (!S_ISREG(status.st_mode)) return {};
  THAW_ASSIGN(ObjectKey key, ObjectKey::parse(path + leaf));
  page_.objects.push_back({std::move(key), info_of(status)});
  return {};
}

Result<> Lister::walk(UniqueFd opened, const std::string& path) {
  THAW_CHECK(context_.alive());
  const Folder folder(::fdopendir(opened.get()));
  if (!folder) return errno_error(errno, "read folder " + path);
  opened.release();
  THAW_ASSIGN(std::vector<std::string> entries, candidates(folder.get(), path));
  // A heap and not a sorted run: often one name is asked for, of many.
  std::make_heap(entries.begin(), entries.end(), std::greater<>());
  std::string entry;
  while (!entries.empty() && !full()) {
    std::pop_heap(entries.begin(), entries.end(), std::greater<>());
    // A name that is overwritten meanwhile may be read twice.
    const bool again = entries.back() == entry;
    entry = std::move(entries.back());
    entries.pop_back();
    if (again) continue;
    THAW_CHECK(context_.alive());
    if (!entry.ends_with('/')) {
      THAW_CHECK(add_object(::dirfd(folder.get()), path, entry));
      continue;
    }
    const std::string leaf = entry.substr(0, entry.size() - 1);
    auto child = open_below(::dirfd(folder.get()), leaf, O_RDONLY | O_DIRECTORY);
    if (child) {
      THAW_CHECK(walk(*std::move(child), path + entry));
    } else if (child.error().code() != Code::not_found) {
      return std::move(child).error().within("in folder " + path);
    }
  }
  return {};
}

ListPage Lister::page() && {
  if (full()) {
    page_.objects.pop_back();
    page_.more = true;
  }
  return std::move(page_);
}

}  // namespace

Result<ListPage> list_objects(const Context& context, int root, std::string_view prefix,
                              const ListOptions& options) {
  // Straight to the deepest folder that the prefix names.
  const std::string base(prefix.substr(0, prefix.rfind('/') + 1));
  const std::string folder = base.substr(0, base.empty() ? 0 : base.size() - 1);
  const bool possible = base.empty() || (ObjectKey::parse(folder) && !is_reserved(folder));
  if (!possible) return ListPage{};  // no object's name begins so
  auto opened = open_below(root, folder, O_RDONLY | O_DIRECTORY);
  if (!opened) {
    if (opened.error().code() == Code::not_found) return ListPage{};
    return std::move(opened).error();
  }
  Lister lister(context, prefix, options);
  THAW_CHECK(lister.walk(*std::move(opened), base));
  return std::move(lister).page();
}

}  // namespace thaw::disk
