// What store.h says about ranges and pages, once, for every backend.
#pragma once

#include "object/store.h"

namespace thaw {

// Where a range lies in an object: offset + length <= its size.
struct Piece {
  uint64_t offset = 0;
  uint64_t length = 0;
};

// The part of an object of `size_bytes` that `range` asks for.
Result<Piece> piece_of(const ByteRange& range, uint64_t size_bytes);

// Refuses an object that is not of the wanted version: Code::not_found.
Result<> check_version(const Wanted& wanted, const ObjectInfo& info);

// Refuses a page size out of bounds.
Result<> check_options(const ListOptions& options);

}  // namespace thaw
