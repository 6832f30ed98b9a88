#include "snapshot/glob.h"

#include <fnmatch.h>

#include <algorithm>

namespace thaw {
namespace {

std::vector<std::string> segments_of(std::string_view path) {
  std::vector<std::string> segments;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    // "./src" is the "src" of people who have a shell complete their words.
    if (slash > 0 && path.substr(0, slash) != ".") segments.emplace_back(path.substr(0, slash));
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

// Where the bracket expression that begins at `at` ends: behind its ']', or npos.
size_t end_of_bracket(std::string_view segment, size_t at) {
  ++at;
  if (at < segment.size() && (segment[at] == '!' || segment[at] == '^')) ++at;
  for (bool first = true; at < segment.size(); first = false) {
    if (segment[at] == ']' && !first) return at + 1;
    if (segment[at] == '[' && at + 1 < segment.size() &&
        std::string_view(":.=").find(segment[at + 1]) != std::string_view::npos) {
      const size_t end = segment.find(std::string{segment[at + 1], ']'}, at + 2);
      if (end != std::string_view::npos) {
        at = end + 2;
        continue;
      }
    }
    at += segment[at] == '\\' ? 2 : 1;
  }
  return std::string_view::npos;
}

Result<> check_segment(std::string_view pattern, std::string_view segment) {
  const auto refused = [&](const char* what) {
    return Error(Code::invalid, "pattern \"" + std::string(pattern) + "\" " + what);
  };
  for (size_t at = 0; at < segment.size();) {
    if (segment[at] == '\\') {
      if (at + 1 == segment.size()) return refused("ends with a \\ that quotes nothing");
      at += 2;
    } else if (segment[at] == '[') {
      at = end_of_bracket(segment, at);
      if (at == std::string_view::npos) {
        return refused("has a [ without its ]; write \\[ for the character itself");
      }
    } else {
      ++at;
    }
  }
  return {};
}

}  // namespace

Result<> check_glob(std::string_view pattern) {
  if (pattern.empty()) return Error(Code::invalid, "the pattern is empty");
  const std::vector<std::string> segments = segments_of(pattern);
  if (segments.empty())
    return Error(Code::invalid, "pattern \"" + std::string(pattern) + "\" names nothing");
  for (const std::string& segment : segments) {
    if (segment == "..") {
      return Error(Code::invalid, "pattern \"" + std::string(pattern) +
                                      "\" holds \"..\", which no path below PATH does");
    }
    THAW_CHECK(check_segment(pattern, segment));
  }
  return {};
}

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
