#include "cache/repository.h"

#include <algorithm>
#include <iterator>

namespace thaw::cache {
namespace {

struct Scheme {
  std::string_view name;
  std::string_view port;  // that stands for none
};
constexpr Scheme kSchemes[] = {
    {"https", "443"}, {"http", "80"}, {"ssh", "22"}, {"git+ssh", "22"}, {"git", "9418"}};

// Hosts of which we know that the case of a path does not count.
constexpr std::string_view kFoldingHosts[] = {"github.com", "gitlab.com", "bitbucket.org"};

// The user that forges take all keys for; any other one has a home, and repositories, of his own.
constexpr std::string_view kSharedUser = "git";

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool consists_of(std::string_view text, std::string_view more) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return is_letter_or_digit(c) || more.find(c) != std::string_view::npos;
  });
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

bool is_host(std::string_view host) {
  return consists_of(host, ".-") && is_letter_or_digit(host.front()) &&
         is_letter_or_digit(host.back()) && host.find("..") == std::string_view::npos;
}

// "acme/shop" of "/acme/shop.git/"; empty where it is none, or not the plainest way to say it.
std::optional<std::string> plain_path(std::string_view path) {
  if (path.starts_with('/')) path.remove_prefix(1);
  if (path.ends_with('/')) path.remove_suffix(1);
  if (path.ends_with(".git")) path.remove_suffix(4);
  for (std::string_view rest = path;;) {
    const size_t slash = std::min(rest.find('/'), rest.size());
    const std::string_view segment = rest.substr(0, slash);
    if (!consists_of(segment, "._-") || segment == "." || segment == "..") return std::nullopt;
    if (slash == rest.size()) return std::string(path);
    rest.remove_prefix(slash + 1);
  }
}

std::optional<std::string> full_name(std::string_view user, std::string_view host_text,
                                     std::string_view port, std::string_view path_text,
                                     bool is_ssh) {
  if (!is_host(host_text)) return std::nullopt;
  auto path = plain_path(path_text);
  if (!path) return std::nullopt;
  const std::string host = lower_case(host_text);
  if (std::find(std::begin(kFoldingHosts), std::end(kFoldingHosts), host) !=
      std::end(kFoldingHosts)) {
    path = lower_case(*path);
  }
  // Whoever fetches by HTTP is told apart by his credentials, not his repository.
  std::string name = is_ssh && user != kSharedUser ? std::string(user) + '@' : "";
  name += host;
  if (!port.empty()) name += ':' + std::string(port);
  return name + '/' + *path;
}

}  // namespace

std::optional<std::string> repository_of(std::string_view url) {
  const size_t scheme_end = url.find("://");
  if (scheme_end == std::string_view::npos) {
    // [USER@]HOST:PATH. The first colon ends the host, so none may stand in a user.
    const size_t colon = url.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    std::string_view host = url.substr(0, colon);
    std::string_view user;
    if (const size_t at = host.find('@'); at != std::string_view::npos) {
      user = host.substr(0, at);
      host.remove_prefix(at + 1);
      if (!consists_of(user, "._-")) return std::nullopt;
    }
    return full_name(user, host, "", url.substr(colon + 1), true);
  }
  const std::string scheme_name = lower_case(url.substr(0, scheme_end));
  const auto* const scheme =
      std::find_if(std::begin(kSchemes), std::end(kSchemes),
                   [&](const Scheme& each) { return each.name == scheme_name; });
  if (scheme == std::end(kSchemes)) return std::nullopt;
  url.remove_prefix(scheme_end + 3);
  const size_t slash = url.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  std::string_view host = url.substr(0, slash);
  std::string_view user;
  if (const size_t at = host.find('@'); at != std::string_view::npos) {
    // Nothing that ends a host for anybody: no '/', '?', '#', '\' or second '@'.
    if (!consists_of(host.substr(0, at), "._-~:%+=!$")) return std::nullopt;
    user = host.substr(0, at);
    user = user.substr(0, user.find(':'));
    host.remove_prefix(at + 1);
  }
  std::string_view port;
  if (const size_t colon = host.find(':'); colon != std::string_view::npos) {
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
    const bool is_number = !port.empty() && port.size() <= 5 && port.front() != '0' &&
                           port.find_first_not_of("0123456789") == std::string_view::npos;
    if (!is_number) return std::nullopt;
    if (port == scheme->port) port = "";
  }
  return full_name(user, host, port, url.substr(slash), scheme_name.ends_with("ssh"));
}

bool is_same_repository(std::string_view one, std::string_view other) {
  if (one == other) return true;
  const auto name = repository_of(one);
  return name && name == repository_of(other);
}

}  // namespace thaw::cache
