#include "object/contract.h"

#include <fmt/format.h>

#include <algorithm>

namespace thaw {

Result<Piece> piece_of(const ByteRange& range, uint64_t size_bytes) {
  if (range.from == ByteRange::From::end) {
    const uint64_t length = std::min(range.length, size_bytes);
    return Piece{size_bytes - length, length};
  }
  if (range.offset > size_bytes) {
    return Error(Code::invalid, fmt::format("offset {} lies past the object's end at {}",
                                            range.offset, size_bytes));
  }
  return Piece{range.offset, std::min(range.length, size_bytes - range.offset)};
}

Result<> check_version(const Wanted& wanted, const ObjectInfo& info) {
  if (!wanted.version || *wanted.version == ObjectVersion{info.etag, info.size_bytes}) return {};
  return Error(Code::not_found, "the object has changed: it is no longer of the wanted version");
}

Result<> check_options(const ListOptions& options) {
  if (options.limit >= 1 && options.limit <= 1000) return {};
  return Error(Code::invalid,
               fmt::format("a page of {} names is not within 1 to 1,000", options.limit));
}

}  // namespace thaw
