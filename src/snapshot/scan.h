// Scanning: a directory on disk becomes a Tree without contents.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/fd.h"
#include "format/tree.h"
#include "snapshot/glob.h"

namespace thaw {

// What stat(2) says of a file, as far as it tells whether the file is the one seen before.
struct FileStat {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size_bytes = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t allocated_bytes = 0;
  bool same_version(const FileStat& other) const {
    return device == other.device && inode == other.inode && size_bytes == other.size_bytes &&
           mtime_ns == other.mtime_ns && ctime_ns == other.ctime_ns;
  }
};
FileStat file_stat_of(const struct stat& status);
// What 64 bits of nanoseconds cannot hold (before 1677, after 2262) becomes the nearest that they
// can.
int64_t timestamp_ns(const struct timespec& time);
struct timespec timespec_of(int64_t time_ns);

enum class Sockets {
  counted,  // for a snapshot, which cannot hold them
  listed,   // as nodes: for changing what is there
};

// Staging folders of restores.
enum class Stages {
  skipped,          // wherever they are met, as ScanOptions::skip
  skipped_at_root,  // only those of the directory itself, and silently
};

struct ScanOptions {
  Globs exclude;
  std::vector<std::string> skip;  // folders and files, by path, left out wherever they are met
  Sockets sockets = Sockets::counted;
  Stages stages = Stages::skipped;
  unsigned threads = 1;
};

struct Scan {
  UniqueFd root;
  Tree tree;                    // regular files have no payload yet, and no attributes
  std::vector<FileStat> stats;  // per node
  uint64_t sockets_skipped = 0;
  std::vector<std::string> skipped;  // of ScanOptions::skip, and staging folders
};

// Lists the directory `path` and all below it, in parallel. What vanishes meanwhile is not in the
// tree. Where a name becomes something else between two looks at it all is listed again, three
// times in all. Errors name the path: not_found, denied, invalid (not a directory), exhausted (a
// cap), busy (a name that was something else each time).
Result<Scan> scan_tree(const Context& context, const std::string& path, const ScanOptions& options);

}  // namespace thaw
