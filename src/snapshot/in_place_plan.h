// What differs between a snapshot and a directory; for in_place.cpp.
#pragma once

#include <optional>
#include <vector>

#include "base/context.h"
#include "format/manifest.h"
#include "snapshot/scan.h"
#include "snapshot/stat_cache.h"

namespace thaw {

// What is to be done to one node of the snapshot.
enum class Action : uint8_t {
  none,
  fix,     // its attributes differ
  write,   // a file or special file: anew, under its name
  link,    // a hard link: anew
  folder,  // a directory that is missing
};

struct InPlacePlan {
  std::vector<Action> actions;    // per node of the snapshot
  std::vector<uint32_t> scanned;  // per node of the snapshot: the same name on disk, or kNone
  std::vector<uint32_t> extra;    // nodes on disk that the snapshot does not name; topmost only
  // Names on disk that are of another type than the snapshot's.
  struct Obstacle {
    uint32_t scanned;
    uint32_t node;
  };
  std::vector<Obstacle> in_the_way;
  std::vector<uint8_t>
      changed_folder;  // per node: its entries change, so its time has to be set again
};

struct CompareOptions {
  bool remove_extra = false;
  bool owners = true;
  bool xattrs = true;
  unsigned threads = 1;
};

// What is known of the files on disk: by node of the scan.
struct KnownFiles {
  std::vector<std::optional<Digest>> digests;
  std::vector<uint8_t> recordable;  // was read under a lease that held
};

// Compares; reads files of which `known` says nothing and whose size does not tell already, and
// adds what it learns to `known` and to the scan's attributes.
Result<InPlacePlan> plan_in_place(const Context& context, const Manifest& manifest, Scan& scan,
                                  const std::string& root_name, KnownFiles& known,
                                  const CompareOptions& options);

}  // namespace thaw
