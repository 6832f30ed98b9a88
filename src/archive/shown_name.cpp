#include "archive/shown_name.h"

#include <fmt/format.h>

namespace thaw::archive {

std::string shown(const std::string& name) {
  constexpr size_t kMost = 200;
  std::string text;
  for (const char c : name.substr(0, kMost)) {
    const auto byte = static_cast<unsigned char>(c);
    text += byte < 0x20 || byte == 0x7f ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return name.size() > kMost ? text + "…" : text;
}

}  // namespace thaw::archive
