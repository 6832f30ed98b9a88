#include "object/store.h"

#include <algorithm>

namespace thaw {

Result<ObjectKey> ObjectKey::parse(std::string text) {
  auto refuse = [&](const char* why) {
    return Error(Code::invalid, "object name \"" + text + "\" " + why);
  };
  if (text.empty()) return refuse("is empty");
  if (text.size() > 1024) return refuse("is longer than 1,024 bytes");
  if (text.find('\0') != std::string::npos) return refuse("holds a NUL byte");
  size_t start = 0;
  while (start <= text.size()) {
    const size_t end = std::min(text.find('/', start), text.size());
    const std::string_view segment = std::string_view(text).substr(start, end - start);
    if (segment.empty()) return refuse("has an empty segment");
    if (segment == "." || segment == "..") return refuse("has a segment \".\" or \"..\"");
    if (segment.size() > 255) return refuse("has a segment of more than 255 bytes");
    start = end + 1;
  }
  return ObjectKey(std::move(text));
}

}  // namespace thaw
