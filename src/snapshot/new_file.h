// NewFile: a file that appears whole, in the place of another, or not at all.
#pragma once

#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace thaw {

// The new file while it is written: without a name where the filesystem can, else under one of its
// own (".thaw-extract-" and 32 digits), which goes when it was not published. One that has a name
// is locked (flock) as long as this object lives: a process that is killed leaves a file that
// nobody holds, and the next make() in that folder removes it. Move-only; one thread at a time.
class NewFile {
 public:
  // `folder` outlives the file.
  static Result<NewFile> make(int folder, const std::string& destination);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  int fd() const { return fd_.get(); }
  // The one that it has in the folder until it is published; empty when it has none.
  std::string_view name() const { return named_ ? std::string_view(name_) : std::string_view(); }
  // Puts it in the place of the destination.
  Result<> publish();

 private:
  NewFile(int folder, std::string destination);
  Result<bool> create();

  int folder_;
  std::string destination_;
  std::string name_;
  UniqueFd fd_;
  bool named_ = false;
};

}  // namespace thaw
