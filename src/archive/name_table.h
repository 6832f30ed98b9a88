// NameTable: the names of a tree in the making, and which of them are folders.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/tree.h"

namespace thaw::archive {

enum class NameKind : uint8_t {
  folder,
  file,      // a regular file, also one that is a hard link
  other,     // a symbolic link, FIFO or device
  unlinked,  // a hard link whose target has not come yet
};

// Numbers go to names in the order in which they come; 0 is the root, and a parent's number is
// below its children's. About 40 bytes a name. One thread at a time; who reads while another adds
// copies what it needs first.
class NameTable {
 public:
  NameTable();

  // kNone when there is none.
  uint32_t find(uint32_t parent, std::string_view name) const;
  // Code::exhausted beyond the caps of a tree (format/limits.h). Precondition: find() is kNone.
  Result<uint32_t> add(uint32_t parent, std::string_view name, NameKind kind);

  NameKind kind(uint32_t id) const { return names_[id].kind; }
  void set_kind(uint32_t id, NameKind kind) { names_[id].kind = kind; }
  uint32_t parent(uint32_t id) const { return names_[id].parent; }
  std::string_view name(uint32_t id) const {
    const Name& name = names_[id];
    if (name.length == 0) return {};
    return {blocks_[name.offset / kBlockBytes].get() + name.offset % kBlockBytes, name.length};
  }
  // "a/b/c"; "" for the root.
  std::string path(uint32_t id) const;
  uint32_t size() const { return static_cast<uint32_t>(names_.size()); }

 private:
  struct Name {
    uint32_t parent;
    uint32_t offset;
    uint16_t depth;
    uint8_t length;
    NameKind kind;
  };
  // Names lie in blocks, none in two: one text would be copied whenever it grows, and be there
  // twice meanwhile.
  static constexpr uint32_t kBlockBytes = 64 * 1024;

  uint32_t keep(std::string_view name);
  uint64_t hash_of(uint32_t parent, std::string_view name) const;
  void grow();

  std::vector<Name> names_;
  std::vector<std::unique_ptr<char[]>> blocks_;
  uint32_t text_end_ = 0;        // an offset, as those of names
  std::vector<uint32_t> slots_;  // open addressing: kNone, or a name's number
  uint64_t seed_;                // so that nobody can choose names that collide
};

}  // namespace thaw::archive
