// Which processes have files open, as /proc tells. Only those of whom this process may ask: all of
// them for root, else the user's own.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace thaw::golden {

struct OpenFile {
  pid_t pid = 0;
  std::string command;  // "node"
  std::string path;
};

// Files at or below `folder` (absolute, without links) that other processes have open for writing;
// at most `limit`.
std::vector<OpenFile> writers_below(const std::string& folder, size_t limit);

// Other processes that have the file `path` open: those who hold its lock are among them.
std::vector<OpenFile> holders_of(const std::string& path, size_t limit);

// "node (pid 12), vite (pid 15)"; "a process that cannot be seen from here" when there is none.
std::string text_of(const std::vector<OpenFile>& processes);

}  // namespace thaw::golden
