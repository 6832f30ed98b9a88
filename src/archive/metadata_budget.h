// MetadataBudget: what an archive may say besides contents, which is held until all of it was read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "base/result.h"

namespace thaw::archive {

// A few KB of archive can ask for gigabytes of names, targets and attributes. So their bytes have a
// cap, and entries have one that grows with the archive: whoever has more of them has sent more,
// too. Nothing is given back: of a name that comes twice both count. For one thread; errors are
// Code::exhausted.
class MetadataBudget {
 public:
  // How much of the archive, as it is stored, was read so far; without it: none.
  explicit MetadataBudget(std::function<uint64_t()> archive_bytes = nullptr)
      : archive_bytes_(std::move(archive_bytes)) {}

  // An entry, or a folder that stands in other names alone.
  Result<> take_entry();
  // A name, a target, an attribute: its bytes, and what it takes beside these.
  Result<> take_text(size_t bytes);

 private:
  const std::function<uint64_t()> archive_bytes_;
  uint64_t entries_ = 0;
  uint64_t text_bytes_ = 0;
};

}  // namespace thaw::archive
