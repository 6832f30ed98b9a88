// The small files of a golden root: values <-> JSON. No I/O; what is read is checked.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "format/tree.h"

namespace thaw::golden {

// current.json: the pointer.
struct Pointer {
  uint64_t current = 0;  // 0: there is no generation
  uint64_t last = 0;     // the highest number ever given
};
std::string write_pointer(const Pointer& pointer);
Result<Pointer> read_pointer(std::string_view text);

// golden.json: what a generation is.
struct Description {
  std::string name;
  uint64_t generation = 0;
  std::string created_at;  // ISO 8601, UTC
  std::string source;      // the session, as the caller names it
  std::string host;
  std::optional<std::string> snapshot{};  // its id in the store
  std::optional<std::string> stamp{};     // a path below the tree
  bool overlay_marks = false;             // Measure::overlay_marks
  std::map<std::string, std::string> labels{};
  TreeTotals totals{};
};
std::string write_description(const Description& description);
Result<Description> read_description(std::string_view text);

enum class Method { copy, reflink, snapshot, overlay };
const char* name_of(Method method);

// Which folder it is, whatever its path: what a rename keeps, and a new folder of that name has
// not. Equal ones have the same inode, time of birth and subvolume. Devices get other numbers at a
// restart, and count only where there is no time of birth.
struct FolderId {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t born_ns = 0;      // 0 where the filesystem does not tell
  std::string subvolume{};  // on btrfs, the UUID of one whose top this is; else empty
  bool operator==(const FolderId& other) const;
};

// clones/<id>.json.
struct CloneRecord {
  std::string target;  // absolute, without links
  uint64_t generation = 0;
  Method method = Method::copy;
  std::string created_at;
  std::optional<FolderId> tree{};  // once there is something to be swapped in
  bool made_target = false;        // overlay: the mount point was not there before
};
std::string write_clone(const CloneRecord& record);
Result<CloneRecord> read_clone(std::string_view text);

}  // namespace thaw::golden
