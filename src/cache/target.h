// Target paths: what a cache restores, in a form that means the same on another machine.
#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <utility>

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
  // The last name in it.
  std::string name() const { return text_.substr(text_.rfind('/') + 1); }
  // "cache.yml:4:9", for messages; empty where nobody said.
  const std::string& written_at() const { return written_at_; }
  void set_written_at(std::string where) { written_at_ = std::move(where); }
  // Absolute, where it lies here. Code::invalid without a home that it needs.
  Result<std::string> path(const Anchors& anchors) const;
  // The same; where a link lies there, what it leads to; Code::denied where that is nothing.
  Result<std::string> resolved_path(const Anchors& anchors) const;
  // By their texts, wherever they are written.
  auto operator<=>(const Target& other) const { return text_ <=> other.text_; }
  bool operator==(const Target& other) const { return text_ == other.text_; }

 private:
  explicit Target(std::string text) : text_(std::move(text)) {}
  std::string text_;
  std::string written_at_;
};

}  // namespace thaw::cache
