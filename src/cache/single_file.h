// Targets that are one file: kept as a directory that holds just this file.
#pragma once

#include <string>

#include "base/context.h"
#include "snapshot/stage.h"

namespace thaw::cache {

// A private folder beside `path`, and in it the folder `tree`.
struct FileStage {
  Stage stage;
  std::string tree;  // its path
};
// Empty: for a restore to fill. Makes missing parents of `path`.
Result<FileStage> stage_for(const Context& context, const std::string& path);
// With the file `path` in it, as `name`: the same inode where that can be, else a copy.
Result<FileStage> stage_with(const Context& context, const std::string& path,
                             const std::string& name);
// Puts the one file of the stage, `name`, in the place of `path`, in one step. Code::corrupt where
// the stage does not hold it.
Result<> put_in_place(const FileStage& from, const std::string& name, const std::string& path);

}  // namespace thaw::cache
