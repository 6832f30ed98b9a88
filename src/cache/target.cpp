#include "cache/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "format/limits.h"

namespace thaw::cache {
namespace {

constexpr size_t kTargetBytes = 1024;

// Without empty parts and "."; ".." takes the part before it away, and stays where there is none.
std::vector<std::string_view> cleaned(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (part.empty() || part == ".") continue;
    if (part == ".." && !parts.empty() && parts.back() != "..") {
      parts.pop_back();
    } else {
      parts.push_back(part);
    }
  }
  return parts;
}

std::string joined(const std::vector<std::string_view>& parts) {
  std::string text;
  for (const std::string_view part : parts) {
    if (!text.empty()) text += '/';
    text += part;
  }
  return text;
}

}  // namespace

Result<Target> Target::parse(std::string_view text) {
  // A message repeats the text only once it is known to be short and printable.
  if (text.empty()) return Error(Code::invalid, "a target path is empty");
  if (text.size() > kTargetBytes)
    return Error(Code::invalid, fmt::format("a target path is longer than {} bytes", kTargetBytes));
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
  });
  if (!plain) return Error(Code::invalid, "a target path holds a control character");
  const auto refuse = [&](std::string_view why) {
    return Error(Code::invalid, fmt::format("target path \"{}\" {}", text, why));
  };

  std::string anchor;
  std::string_view rest = text;
  if (text.front() == '/') {
    anchor = "/";
  } else if (text == "~" || text.starts_with("~/")) {
    anchor = "~/";
    rest.remove_prefix(1);
  } else if (text.front() == '~') {
    return refuse("names another user's home: write ./~name for a file of that name");
  }
  const std::vector<std::string_view> parts = cleaned(rest);
  if (parts.empty() || parts.back() == "..") {
    return refuse("is, or holds, the root, the home or the working directory: name what is in it");
  }
  if (!anchor.empty() && parts.front() == "..") return refuse("leaves where it begins by \"..\"");
  for (const std::string_view part : parts) {
    if (part.size() > limits::kNameBytes) return refuse("has a name of more than 255 bytes");
  }
  std::string whole = anchor + joined(parts);
  // "./~x" is a file of the working directory, and must not become a home's.
  if (anchor.empty() && whole.front() == '~') whole = "./" + whole;
  return Target(std::move(whole));
}

Result<std::string> Target::path(const Anchors& anchors) const {
  if (text_.front() == '/') return text_;
  if (!text_.starts_with("~/"))
    return anchors.working_directory + (anchors.working_directory.ends_with('/') ? "" : "/") +
           text_;
  if (anchors.home.empty())
    return Error(Code::invalid, "target path \"" + text_ + "\" needs HOME, which is not set");
  return anchors.home + text_.substr(1);
}

Result<std::string> Target::resolved_path(const Anchors& anchors) const {
  THAW_ASSIGN(std::string here, path(anchors));
  std::error_code fault;
  if (!std::filesystem::is_symlink(std::filesystem::symlink_status(here, fault))) return here;
  const auto real = std::filesystem::canonical(here, fault);
  if (fault) return Error(Code::denied, here + " is a link that leads nowhere");
  return real.string();
}

}  // namespace thaw::cache
