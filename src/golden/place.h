// Where things lie in a golden root (docs/golden.md), and the small files there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/fd.h"
#include "golden/lock.h"
#include "golden/name.h"
#include "golden/record.h"
#include "snapshot/restore.h"

namespace thaw::golden {

// What a root on a network filesystem means: its locks may be each machine's own.
enum class Writers { several_machines, this_machine_alone };

// A golden root: made, resolved, and fit for locks. A plain value.
struct Root {
  std::string path;             // absolute, without links
  std::string builds_around{};  // "a:b:": what is being built by commands that run this process
};
// Where a build tells the command that it runs what is being built.
inline constexpr const char* kBuildsVariable = "THAW_GOLDEN_BUILDS";
Result<Root> open_root(const std::string& path, Writers writers);
// By the f_type of statfs(2).
bool is_network_filesystem(uint64_t type);
std::vector<Name> names_in(const Root& root);

// Refuses a folder that lies in the root, is it, or has it in it. `path` is absolute, without
// links.
Result<> check_apart(const Root& root, const std::string& path, const char* what);

// Refuses what is one of these, holds one, or lies in one into which nothing goes. `verb`:
// "promoted".
Result<> check_unprotected(const std::string& path, const std::vector<ProtectedPath>& paths,
                           const char* verb);

// The temporary folders of a golden.
inline constexpr const char* kNewPrefix = ".new-";
inline constexpr const char* kGonePrefix = ".gone-";

// One golden's folder. Thread-safe: it holds paths alone. What changes the pointer or the numbers
// holds the name's lock exclusively.
class Place {
 public:
  Place(const Root& root, Name name);

  const Name& name() const { return name_; }
  const std::string& path() const { return path_; }
  std::string lock_path() const { return path_ + "/lock"; }
  // Of who builds, fetches or publishes it.
  std::string making_path() const { return path_ + "/making"; }
  std::string path_of(uint64_t generation) const { return path_of(std::to_string(generation)); }
  std::string path_of(const std::string& entry) const { return path_ + "/" + entry; }
  std::string tree_of(uint64_t generation) const { return path_of(generation) + "/tree"; }
  std::string clones() const { return path_of("clones"); }
  std::string overlays() const { return path_of("overlays"); }
  const std::string& builds_around_us() const { return builds_around_; }
  bool is_built_around_us() const;

  bool exists() const;
  // The folder, its lock and the folders in it.
  Result<> make() const;
  // {0, 0} when there is none yet.
  Result<Pointer> pointer() const;
  // The switch: one rename. After it the pointer is durable.
  Result<> set_pointer(const Pointer& pointer) const;
  Result<Description> description(uint64_t generation) const;
  // All that lie there, the highest first.
  Result<std::vector<uint64_t>> generations() const;
  // Notes and tells the last use, in nanoseconds since 1970.
  void touch(uint64_t generation) const;
  int64_t last_use_ns(uint64_t generation) const;

 private:
  Name name_;
  std::string path_;
  std::string builds_around_;
};

// A file that is whole or not there, durable when this returns: written beside, synced, renamed.
Result<> replace_file(const std::string& path, std::string_view text);
Result<> sync_folder(const std::string& path);
Result<std::vector<std::string>> list_folder(const std::string& path);
FolderId folder_id_of(const std::string& path, bool& is_there);

// Absolute, links resolved; the path is there.
Result<std::string> real_path(const std::string& path);

// Whether `path` is `folder` or lies below it.
bool is_at_or_below(const std::string& path, const std::string& folder);

// Bytes that a user may still write there, and how large all of it is.
struct Room {
  uint64_t free_bytes = 0;
  uint64_t all_bytes = 0;
};
Result<Room> room_at(const std::string& path);
// `exhausted` where less than this share (0 to 1) of the filesystem is free.
Result<> check_room(const std::string& path, double min_free);

}  // namespace thaw::golden
