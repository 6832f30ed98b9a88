// Target paths: what a cache restores, in a form that means the same on another machine.
#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thaw::cache {

// Where anchors are on this machine. Absolute; `home` is empty where there is none.
struct Anchors {
  std::string working_directory;
  std::string home;
};

// One path, cleaned: "~/.npm", "/opt/sdk", "node_modules", "../shared". The anchor is its
// beginning.
class Target {
 public:
  // Code::invalid for a whole anchor, for what leaves its anchor by "..", and for what no path is.
  static Result<Target> parse(std::string_view text);
  const std::string& text() const { return text_; }
  // Absolute, where it lies here. Code::invalid without a home that it needs.
  Result<std::string> path(const Anchors& anchors) const;
  auto operator<=>(const Target&) const = default;

 private:
  explicit Target(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// Whether all can be restored side by side here: none is, or lies in, another, or holds an anchor;
// links are resolved, and the case of ASCII letters does not count. Code::invalid names both.
Result<> check_side_by_side(const std::vector<Target>& targets, const Anchors& anchors);

}  // namespace thaw::cache
