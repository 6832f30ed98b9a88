// Names of goldens and of their generations.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw::golden {

// One path segment of 1 to 128 letters, digits, '.', '_' and '-' that begins with a letter or a
// digit: it neither climbs nor falls together with what else lies in a golden root.
class Name {
 public:
  static Result<Name> parse(std::string_view text);
  const std::string& text() const { return text_; }
  auto operator<=>(const Name&) const = default;

 private:
  explicit Name(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// NAME or NAME@N.
struct Ref {
  Name name;
  std::optional<uint64_t> generation{};
  static Result<Ref> parse(std::string_view text);
  std::string text() const;
};

// A decimal number without leading zeros, from 1; empty for all else.
std::optional<uint64_t> parse_generation(std::string_view text);

}  // namespace thaw::golden
