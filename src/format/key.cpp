#include "format/key.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/random.h"
#include "format/limits.h"
#include "format/utf8.h"

namespace thaw {
namespace {

constexpr std::string_view kRoot = "keys/";
constexpr std::string_view kGenerations = "/@/";
constexpr std::string_view kRefused = "/@refused/";
constexpr std::string_view kUses = "used/";
constexpr size_t kDigits = 16;  // of an inverted number

const char* fault_of_segment(std::string_view segment) {
  if (segment.empty()) return "has an empty segment (a leading, trailing or double '/')";
  if (segment == "." || segment == "..") return "has a segment \".\" or \"..\"";
  if (segment.size() > limits::kKeySegmentBytes) return "has a segment of more than 200 bytes";
  return nullptr;
}

std::string inverted(uint64_t generation) {
  return fmt::format("{:016x}", UINT64_MAX - generation);
}

}  // namespace

Result<Key> Key::parse(std::string text) {
  // A message repeats the text only once it is known to be short and printable.
  if (text.size() > limits::kKeyBytes)
    return Error(Code::invalid, "a key is longer than 512 bytes");
  if (!is_utf8(text)) return Error(Code::invalid, "a key is not valid UTF-8");
  if (has_control_characters(text)) return Error(Code::invalid, "a key holds a control character");
  auto refuse = [&](const char* why) {
    return Error(Code::invalid, "key \"" + text + "\" " + why);
  };
  if (text.find('@') != std::string::npos) {
    return refuse("holds '@', which stands between a key and its generation");
  }
  if (text.find('\\') != std::string::npos) {
    return refuse("holds a backslash; segments are joined by '/'");
  }
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find('/', start), text.size());
    if (const char* fault = fault_of_segment(std::string_view(text).substr(start, end - start))) {
      return refuse(fault);
    }
    start = end + 1;
  }
  return Key(std::move(text));
}

Result<KeyRef> KeyRef::parse(std::string_view text) {
  const size_t at = text.rfind('@');
  if (at == std::string_view::npos) {
    THAW_ASSIGN(Key key, Key::parse(std::string(text)));
    return KeyRef{std::move(key), std::nullopt};
  }
  THAW_ASSIGN(Key key, Key::parse(std::string(text.substr(0, at))));
  const std::string_view digits = text.substr(at + 1);
  uint64_t generation = 0;
  const auto [end, fault] =
      std::from_chars(digits.data(), digits.data() + digits.size(), generation);
  if (fault != std::errc() || end != digits.data() + digits.size() || generation == 0) {
    return Error(Code::invalid,
                 fmt::format("what follows \"{}@\" is no generation: write KEY@N with N from 1, as "
                             "`thaw ls` prints it",
                             key.text()));
  }
  return KeyRef{std::move(key), generation};
}

std::string KeyRef::text() const {
  return generation ? fmt::format("{}@{}", key.text(), *generation) : key.text();
}

bool prefix_covers(std::string_view prefix, std::string_view key) {
  if (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (prefix.empty()) return true;
  return key.starts_with(prefix) && (key.size() == prefix.size() || key[prefix.size()] == '/');
}

std::string entry_prefix(const Key& key) {
  return fmt::format("{}{}{}", kRoot, key.text(), kGenerations);
}

std::string entry_name(const Key& key, uint64_t generation) {
  return entry_prefix(key) + inverted(generation);
}

std::string refusal_prefix(const Key& key, uint64_t newest) {
  return fmt::format("{}{}{}{}-", kRoot, key.text(), kRefused, inverted(newest));
}

std::string last_use_name(const Key& key) { return fmt::format("{}{}/@", kUses, key.text()); }

std::optional<Key> parse_last_use_name(std::string_view object_name) {
  if (!object_name.starts_with(kUses) || !object_name.ends_with("/@")) return std::nullopt;
  object_name.remove_prefix(kUses.size());
  if (object_name.size() < 2) return std::nullopt;
  object_name.remove_suffix(2);
  auto key = Key::parse(std::string(object_name));
  if (!key) return std::nullopt;
  return *std::move(key);
}

namespace {

// The number behind "keys/<key><mark>", in its canonical spelling: 16 lower-case digits.
std::optional<EntryName> parse_numbered(std::string_view object_name, std::string_view mark,
                                        size_t behind_digits) {
  if (!object_name.starts_with(kRoot)) return std::nullopt;
  object_name.remove_prefix(kRoot.size());
  const size_t at = object_name.rfind(mark);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view digits = object_name.substr(at + mark.size());
  if (digits.size() != kDigits + behind_digits) return std::nullopt;
  digits = digits.substr(0, kDigits);
  uint64_t number = 0;
  const auto [end, fault] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  if (fault != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  auto key = Key::parse(std::string(object_name.substr(0, at)));
  const uint64_t generation = UINT64_MAX - number;
  if (!key || digits != inverted(generation)) return std::nullopt;
  return EntryName{*std::move(key), generation};
}

}  // namespace

std::optional<EntryName> parse_entry_name(std::string_view object_name) {
  auto name = parse_numbered(object_name, kGenerations, 0);
  if (name && name->generation == 0) return std::nullopt;
  return name;
}

std::optional<EntryName> parse_refusal_name(std::string_view object_name) {
  constexpr size_t kIdDigits = 32;
  const size_t dash = object_name.rfind('-');
  if (dash == std::string_view::npos || !RandomId::parse(object_name.substr(dash + 1)))
    return std::nullopt;
  return parse_numbered(object_name, kRefused, 1 + kIdDigits);
}

}  // namespace thaw
