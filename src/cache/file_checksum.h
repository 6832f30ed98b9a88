// The checksum of files for a key: of their contents only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/result.h"

namespace thaw::cache {

inline constexpr uint64_t kMostNamesWalked = 1'000'000;

// docs/cache.md, "Checksums": 64 hexadecimal digits. Paths and patterns begin at `directory`,
// absolute. What is, or lies in, one of `left_out` (absolute) matches no pattern. Errors: not_found
// (a path that is not there; patterns that match nothing: named), invalid (no file; a pattern that
// cannot be meant), exhausted (too many names), denied, and the context's end. Thread-safe.
Result<std::string> file_checksum(const Context& context, const std::string& directory,
                                  const std::vector<std::string>& patterns,
                                  const std::vector<std::string>& left_out = {},
                                  uint64_t most_names = kMostNamesWalked);

// Whether a path or pattern can be meant. Pure. Errors: invalid, and those of expand_braces().
Result<> check_pattern(const std::string& pattern);

// "a/{b,c}" is "a/b" and "a/c". Code::exhausted where that makes more than 256.
Result<std::vector<std::string>> expand_braces(const std::string& pattern);

}  // namespace thaw::cache
