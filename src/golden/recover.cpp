#include "golden/recover.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/beneath.h"
#include "base/log.h"
#include "base/random.h"
#include "golden/clones.h"
#include "golden/subvolume.h"

namespace thaw::golden {
namespace {

bool is_work_folder(const std::string& entry, std::string_view prefix) {
  return entry.starts_with(prefix) && RandomId::parse(entry.substr(prefix.size()));
}

Result<> remove_below(const Context& context, const Place& place, const std::string& entry) {
  THAW_ASSIGN(const UniqueFd folder, open_path(place.path(), O_RDONLY | O_DIRECTORY));
  return remove_with_subvolumes(context, folder.get(), entry);
}

// Whether it was ready to be switched to: it is described, and has its tree.
Result<std::optional<Description>> ready(const Place& place, const std::string& entry) {
  bool is_there = false;
  folder_id_of(place.path_of(entry) + "/tree", is_there);
  if (!is_there) return std::optional<Description>();
  auto text = read_file(place.path_of(entry) + "/golden.json", 1024 * 1024);
  if (!text && text.error().code() == Code::not_found) return std::optional<Description>();
  if (!text) return std::move(text).error();
  auto description = read_description(as_text(text->view()));
  if (!description) return std::move(description).error().within(place.path_of(entry));
  return std::optional<Description>(*std::move(description));
}

// The same text as golden.json, in the tree. A link that lies there is not written through.
Result<> write_stamp(const std::string& folder, const Description& description) {
  if (!description.stamp) return {};
  THAW_ASSIGN(const UniqueFd tree,
              open_path(folder + "/tree", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  THAW_ASSIGN(const ParentAndName at, open_parent_beneath(tree.get(), *description.stamp));
  if (::unlinkat(at.folder.get(), at.name.c_str(), 0) != 0 && errno != ENOENT)
    return errno_error(errno, "replace the stamp " + *description.stamp);
  THAW_ASSIGN(const UniqueFd fd,
              open_at(at.folder.get(), at.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  return write_all(fd.get(), as_bytes(write_description(description)), *description.stamp);
}

// Removes a folder that nobody is at work on; by one process at a time.
void remove_abandoned(const Context& context, const Place& place, const std::string& entry) {
  const auto fd = open_path(place.path_of(entry), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!fd || ::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) return;
  // It may have been complete all along, or been completed since it was listed.
  if (is_work_folder(entry, kNewPrefix)) {
    const auto complete = ready(place, entry);
    if (!complete || *complete) return;
  }
  const auto removed = remove_below(context, place, entry);
  if (!removed) log::warn("{} stays: {}", place.path_of(entry), removed.error().text());
}

}  // namespace

Result<WorkFolder> WorkFolder::make(const Place& place) {
  // Between mkdir and flock, recovery may take it for abandoned: then a new name is tried.
  for (int attempt = 0; attempt < 10; ++attempt) {
    std::string entry = kNewPrefix + RandomId::fresh().hex();
    const std::string path = place.path_of(entry);
    if (::mkdir(path.c_str(), 0700) != 0) return errno_error(errno, "create " + path);
    auto fd = open_path(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    struct stat status {};
    if (!fd || ::flock(fd->get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(fd->get(), &status) != 0 ||
        status.st_nlink == 0) {
      continue;
    }
    THAW_CHECK(make_lock_file(path + "/lock"));
    THAW_CHECK(make_lock_file(path + "/used"));
    return WorkFolder(std::move(entry), *std::move(fd));
  }
  return Error(Code::busy, "cannot keep a folder in " + place.path());
}

Result<WorkFolder> WorkFolder::of_generation(const Place& place, uint64_t generation) {
  const std::string path = place.path_of(generation);
  THAW_ASSIGN(UniqueFd fd, open_path(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
    return Error(Code::busy, path + " is being removed");
  std::string entry = kGonePrefix + RandomId::fresh().hex();
  if (::rename(path.c_str(), place.path_of(entry).c_str()) != 0)
    return errno_error(errno, "rename " + path);
  return WorkFolder(std::move(entry), std::move(fd));
}

Result<> WorkFolder::make_tree() const {
  if (is_on_btrfs(fd_.get())) return make_subvolume(fd_.get(), "tree");
  if (::mkdirat(fd_.get(), "tree", 0755) != 0) return errno_error(errno, "create a tree");
  return {};
}

Result<> WorkFolder::remove(const Context& context, const Place& place) const {
  return remove_below(context, place, entry_);
}

Result<> bring_in(const Place& place, const std::string& entry, const Description& description) {
  const std::string from = place.path_of(entry);
  const bool is_subvolume = subvolume_at(from + "/tree").has_value();
  // It is read-only where this was interrupted.
  if (is_subvolume) THAW_CHECK(set_read_only(from + "/tree", false));
  THAW_CHECK(write_stamp(from, description));
  if (is_subvolume) THAW_CHECK(set_read_only(from + "/tree", true));
  THAW_CHECK(sync_folder(from));
  const std::string to = place.path_of(description.generation);
  if (::rename(from.c_str(), to.c_str()) != 0) return errno_error(errno, "rename " + from);
  return place.set_pointer({.current = description.generation, .last = description.generation});
}

Result<> complete_interrupted(const Place& place) {
  THAW_ASSIGN(const auto entries, list_folder(place.path()));
  THAW_ASSIGN(Pointer pointer, place.pointer());
  // A number is given under the lock, and the folder renamed to it, before the pointer knows.
  for (const std::string& entry : entries) {
    const auto number = parse_generation(entry);
    if (!number || *number <= pointer.last) continue;
    pointer = {.current = *number, .last = *number};
    THAW_CHECK(place.set_pointer(pointer));
    log::info("completed the promotion of {}@{}, which was interrupted", place.name().text(),
              *number);
  }
  for (const std::string& entry : entries) {
    if (!is_work_folder(entry, kNewPrefix)) continue;
    THAW_ASSIGN(std::optional<Description> description, ready(place, entry));
    if (!description) continue;
    THAW_CHECK(bring_in(place, entry, *description));
    log::info("completed the promotion of {}@{}, which was interrupted", place.name().text(),
              description->generation);
  }
  return {};
}

Result<> recover(const Context& context, const Place& place) {
  THAW_ASSIGN(const auto entries, list_folder(place.path()));
  THAW_ASSIGN(const Pointer pointer, place.pointer());
  bool interrupted = false;
  for (const std::string& entry : entries) {
    const auto number = parse_generation(entry);
    interrupted = interrupted || (number && *number > pointer.last) || entry == "current.json.new";
    if (interrupted || !is_work_folder(entry, kNewPrefix)) continue;
    const auto complete = ready(place, entry);
    interrupted = complete && *complete;
  }
  if (interrupted) {
    THAW_ASSIGN(const Lock lock, lock_file(context, place.lock_path(), Share::exclusive));
    THAW_CHECK(complete_interrupted(place));
    // Its writer would hold the lock.
    ::unlink(place.path_of("current.json.new").c_str());
  }
  for (const std::string& entry : entries) {
    if (is_work_folder(entry, kNewPrefix) || is_work_folder(entry, kGonePrefix))
      remove_abandoned(context, place, entry);
  }
  return recover_clones(context, place);
}

}  // namespace thaw::golden
