// Globs on paths inside a tree, as --exclude and --image take them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thaw {

// Refuses what can only be a slip: a pattern that is empty or names nothing, one with "..", a `[`
// without its `]`, a `\` at the end.
Result<> check_glob(std::string_view pattern);

// A pattern without '/' matches a name at any depth ("*.o", ".git"). One with '/' matches the path
// from the tree's root ("build/*.o"; a leading '/' or "./" only anchors: "/build"); "**" stands for
// any number of folders. '*', '?' and '[…]' do not match '/'. Thread-safe.
class Globs {
 public:
  Globs() = default;
  explicit Globs(std::vector<std::string> patterns) : patterns_(std::move(patterns)) {}
  bool empty() const { return patterns_.empty(); }
  bool match(std::string_view path) const;  // "a/b/c", no leading '/'

 private:
  std::vector<std::string> patterns_;
};

}  // namespace thaw
