// TreeSink: what is made of an archive's entries: files on disk, or a snapshot.
#pragma once

#include <cstdint>
#include <optional>

#include "archive/name_table.h"
#include "archive/tar_reader.h"
#include "base/context.h"

namespace thaw::archive {

// Of a folder that no entry speaks of.
inline constexpr uint32_t kImpliedMode = 0755;

// Called by one thread, with names that are sound: each is new when it first comes, but for the
// root, lies in a folder that came before, and is no link that leads anywhere but to a name.
class TreeSink {
 public:
  virtual ~TreeSink() = default;

  // A folder, or what a later entry says of it. Null: no entry spoke of it yet, it is a part of
  // other names.
  virtual Result<> folder(const Context& context, uint32_t id, const TarEntry* entry) = 0;
  // A regular file, whose bytes `reader` has next.
  virtual Result<> file(const Context& context, uint32_t id, const TarEntry& entry,
                        TarReader& reader) = 0;
  // A symbolic link, FIFO or device.
  virtual Result<> special(const Context& context, uint32_t id, const TarEntry& entry) = 0;
  // A further name of what `target`, which is no folder, is at this moment.
  virtual Result<> link(const Context& context, uint32_t id, uint32_t target) = 0;
  // The name, which is no folder, goes: another entry is going to take it. Further names of what it
  // was stay.
  virtual Result<> forget(const Context& context, uint32_t id) = 0;
  // A folder that no entry spoke of, or the root: its time. Once for each, after all entries.
  virtual Result<> implied(const Context& context, uint32_t id, int64_t mtime_ns) = 0;
  // All has come.
  virtual Result<> finish(const Context& context) = 0;
  // What went wrong, behind the caller's back, with an entry that came before; it names it.
  virtual std::optional<Error> failure() = 0;
};

}  // namespace thaw::archive
