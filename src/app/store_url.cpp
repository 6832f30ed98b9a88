#include "app/store_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>

namespace thaw {
namespace {

Error refused(std::string message) { return {Code::invalid, "store: " + std::move(message)}; }

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

// RFC 3986, 3.1, in lower case; empty when the text does not begin with one and a colon.
std::string scheme_of(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || !is_letter(text.front())) return "";
  std::string scheme;
  for (const char c : text.substr(0, colon)) {
    const bool fits = is_letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
    if (!fits) return "";
    scheme += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return scheme;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_value(text[i + 1]);
    const int low = hex_value(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

// Splits "//host/path" or "/path", what follows "file:".
Result<StoreUrl> parse_file_url(std::string_view rest) {
  if (rest.starts_with("//")) {
    rest.remove_prefix(2);
    const size_t slash = std::min(rest.find('/'), rest.size());
    const std::string_view host = rest.substr(0, slash);
    if (!host.empty() && host != "localhost") {
      return refused("a file URL names no host: write file:///path, with three slashes");
    }
    rest.remove_prefix(slash);
  }
  if (!rest.starts_with('/')) return refused("a file URL needs an absolute path: file:///path");
  if (rest.find_first_of("?#") != std::string_view::npos) {
    return refused("a file URL takes no '?' or '#'; in a path they are %3F and %23");
  }
  auto path = percent_decoded(rest);
  if (!path) return refused("a '%' in a file URL begins no two hexadecimal digits");
  if (path->find('\0') != std::string::npos) return refused("a path holds no NUL");
  return StoreUrl{*std::move(path)};
}

// "user:password@host" or "user@host", between "://" and the path.
bool holds_user(std::string_view text) {
  const size_t begin = text.find("://");
  if (begin == std::string_view::npos) return false;
  const std::string_view rest = text.substr(begin + 3);
  return rest.substr(0, rest.find_first_of("/?#")).find('@') != std::string_view::npos;
}

}  // namespace

Result<StoreUrl> parse_store_url(std::string_view text, std::string_view working_directory) {
  if (text.empty()) return refused("an empty name");
  const std::string scheme = scheme_of(text);
  const bool url = scheme == "file" || scheme == "s3" || text.find("://") == scheme.size();
  if (!scheme.empty() && url) {
    if (holds_user(text)) {
      return refused("credentials are no part of a store's URL (it is not repeated here)");
    }
    if (scheme == "file") return parse_file_url(text.substr(scheme.size() + 1));
    if (scheme == "s3") return refused("s3:// stores are not in this build; it knows file:///path");
    return refused(fmt::format(
        "unknown scheme \"{}://\": file:///path and s3://bucket/prefix are known", scheme));
  }
  if (text.find('\0') != std::string_view::npos) return refused("a path holds no NUL");
  // Only a shell expands it, and not inside quotes: a folder named "~" is never what was meant.
  if (text == "~" || text.starts_with("~/")) {
    return refused("'~' is not expanded here: write the whole path");
  }
  if (text.starts_with('/')) return StoreUrl{std::string(text)};
  if (working_directory.ends_with('/')) working_directory.remove_suffix(1);
  return StoreUrl{fmt::format("{}/{}", working_directory, text)};
}

}  // namespace thaw
