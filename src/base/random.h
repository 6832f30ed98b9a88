// Random names from the kernel's generator.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace thaw {

// 128 random bits: the physical name of a pack, manifest or lease, or a save's nonce.
struct RandomId {
  std::array<uint8_t, 16> bytes{};

  static RandomId fresh();
  static std::optional<RandomId> parse(std::string_view hex);  // 32 lower-case digits
  std::string hex() const;
  auto operator<=>(const RandomId&) const = default;
};

}  // namespace thaw
