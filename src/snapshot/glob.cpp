#include "snapshot/glob.h"

#include <fnmatch.h>

#include <algorithm>

namespace thaw {
namespace {

std::vector<std::string> segments_of(std::string_view path) {
  std::vector<std::string> segments;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    if (slash > 0) segments.emplace_back(path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return segments;
}

// Dynamic programming over (pattern segment, path segment), so that many "**" cost no more than the
// product of the lengths.
bool match_segments(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  std::vector<char> reached(path.size() + 1, 0);
  reached[0] = 1;
  for (const std::string& each : pattern) {
    std::vector<char> next(path.size() + 1, 0);
    if (each == "**") {
      bool any = false;
      for (size_t i = 0; i <= path.size(); ++i) {
        any = any || reached[i] != 0;
        next[i] = any ? 1 : 0;
      }
    } else {
      for (size_t i = 0; i < path.size(); ++i) {
        if (reached[i] != 0 && fnmatch(each.c_str(), path[i].c_str(), 0) == 0) next[i + 1] = 1;
      }
    }
    reached = std::move(next);
  }
  return reached[path.size()] != 0;
}

}  // namespace

bool Globs::match(std::string_view path) const {
  if (patterns_.empty()) return false;
  const std::string name(path.substr(path.rfind('/') + 1));
  for (const std::string& pattern : patterns_) {
    if (pattern.find('/') == std::string::npos) {
      if (fnmatch(pattern.c_str(), name.c_str(), 0) == 0) return true;
    } else if (match_segments(segments_of(pattern), segments_of(path))) {
      return true;
    }
  }
  return false;
}

}  // namespace thaw
