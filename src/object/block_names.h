// How the blocks of an object are named in a tier. See docs/format.md, "Blocks of tiers".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "object/store.h"

namespace thaw {

// Whether objects of this name never change once they are there.
bool is_write_once(const ObjectKey& object);

// The names of one object's blocks, in one version. A plain value.
class BlockNames {
 public:
  // Empty when such an object is not kept: it may change and `version` does not say which it is, or
  // its name or etag is too long for a block.
  static std::optional<BlockNames> of(std::string_view store_name, const ObjectKey& object,
                                      const std::optional<ObjectVersion>& version,
                                      uint32_t block_bytes);

  // The same of an object that may change, for all of its versions together: no block has one of
  // these names, all begin with their prefix. (Rarely another object's do as well.)
  static std::optional<BlockNames> of_all_versions(std::string_view store_name,
                                                   const ObjectKey& object);

  // Precondition: a block of an object, so its number has 15 digits at most.
  ObjectKey block(uint64_t number) const;
  // What all of them begin with, and nothing else does.
  const std::string& prefix() const { return prefix_; }

 private:
  explicit BlockNames(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string prefix_;
};

// What a block's name says, as it lies in the tier. Views into the name.
struct BlockPlace {
  std::string_view object;  // "blocks/<store>/<object>"
  std::string_view group;   // "blocks/<store>/<first segment of the object's name>"
  std::string_view rest;    // "<version>-<size>/<number>"
};
// Empty for what is no block's name.
std::optional<BlockPlace> place_of_block(std::string_view name);
// "blocks/<store>": where the blocks of a store of this name lie.
std::string block_folder(std::string_view store_name);
// "blocks/<store>", and no more of it.
bool is_store_folder(std::string_view name);

}  // namespace thaw
