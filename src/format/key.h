// Keys: the names people give to snapshots, and their generations. See docs/format.md, "Keys".
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw {

// A valid key: "site/shop/deno-dir".
class Key {
 public:
  static Result<Key> parse(std::string text);
  const std::string& text() const { return text_; }
  auto operator<=>(const Key&) const = default;

 private:
  explicit Key(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// KEY or KEY@N, as on the command line.
struct KeyRef {
  Key key;
  std::optional<uint64_t> generation;  // empty: the newest

  static Result<KeyRef> parse(std::string_view text);
  std::string text() const;
};

// Whether `key` is `prefix` or below it: whole segments, so "build1" does not cover "build10". An
// empty prefix covers all; one trailing '/' is ignored.
bool prefix_covers(std::string_view prefix, std::string_view key);

// Names of objects below the store's root. Generations are 1 or more.
std::string entry_name(const Key& key, uint64_t generation);
std::string entry_prefix(const Key& key);                     // "keys/<key>/@/"
std::string refusal_prefix(const Key& key, uint64_t newest);  // "keys/<key>/@refused/<inverted>-"
struct EntryName {
  Key key;
  uint64_t generation;
};
// Empty when the name is no entry's.
std::optional<EntryName> parse_entry_name(std::string_view object_name);
// The same of a refusal's: the generation that was the newest then; 0 where there was none.
std::optional<EntryName> parse_refusal_name(std::string_view object_name);
// Of the object whose time says when the key was last used: "used/<key>/@".
std::string last_use_name(const Key& key);
std::optional<Key> parse_last_use_name(std::string_view object_name);

}  // namespace thaw
