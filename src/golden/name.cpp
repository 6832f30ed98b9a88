#include "golden/name.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace thaw::golden {
namespace {

constexpr size_t kLongestName = 128;

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

Result<Name> Name::parse(std::string_view text) {
  const bool fits = !text.empty() && text.size() <= kLongestName && is_alphanumeric(text.front()) &&
                    std::all_of(text.begin(), text.end(), [](char c) {
                      return is_alphanumeric(c) || c == '.' || c == '_' || c == '-';
                    });
  if (fits) return Name(std::string(text));
  return Error(Code::invalid,
               fmt::format("\"{}\" is no name of a golden: 1 to {} letters, digits, '.', '_' and "
                           "'-', the first a letter or digit",
                           text, kLongestName));
}

std::optional<uint64_t> parse_generation(std::string_view text) {
  uint64_t number = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (fault != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (number == 0 || text.front() == '0') return std::nullopt;
  return number;
}

Result<Ref> Ref::parse(std::string_view text) {
  const size_t at = text.find('@');
  THAW_ASSIGN(Name name, Name::parse(text.substr(0, at)));
  Ref ref{std::move(name)};
  if (at == std::string_view::npos) return ref;
  ref.generation = parse_generation(text.substr(at + 1));
  if (!ref.generation) {
    return Error(Code::invalid,
                 fmt::format("\"{}\" is no generation: NAME@N, N from 1", text.substr(at + 1)));
  }
  return ref;
}

std::string Ref::text() const {
  return generation ? fmt::format("{}@{}", name.text(), *generation) : name.text();
}

}  // namespace thaw::golden
