// What recency_index.h says about names, times and cursors, once, for every index.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "object/block_names.h"
#include "object/recency_index.h"

namespace thaw {

// Microseconds since 1970. Redis keeps them as doubles, so they stay where those are exact.
constexpr int64_t kUseMost = (int64_t{1} << 53) - 1;
// Rounded down.
int64_t use_of(Timestamp at);
// The first use that is not before `at`.
int64_t bound_of(Timestamp at);
Timestamp time_of(int64_t use);

// Where each of the blocks belongs, as views into the notes. Code::invalid when one has no place or
// is too large.
Result<std::vector<BlockPlace>> places_of(std::span<const BlockNote> notes);
Result<> check_blocks(std::span<const ObjectKey> blocks);
Result<> check_limit(size_t limit);
// Without slashes at its end. Code::invalid when it names no store.
Result<std::string> checked_prefix(std::string_view prefix);
// Whether the object's name is the prefix, or continues it with a segment.
bool lies_in(std::string_view object, std::string_view prefix);

// Where a walk stands: behind a block of this use.
struct Cursor {
  int64_t use = 0;
  std::string block;
};
std::string text_of(const Cursor& cursor);
// Empty for the beginning. Code::invalid for what text_of() did not write.
Result<std::optional<Cursor>> cursor_of(std::string_view text);

}  // namespace thaw
