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

std::string lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// Absolute, and as a filesystem that folds the case would see it.
std::string folded(const std::string& path) {
  std::error_code fault;
  const auto real = std::filesystem::weakly_canonical(path, fault);
  return lower_case('/' + joined(cleaned(fault ? path : real.string())));
}

bool is_at_or_below(const std::string& path, const std::string& folder) {
  if (folder == "/") return true;
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
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

Result<> check_side_by_side(const std::vector<Target>& targets, const Anchors& anchors) {
  std::vector<std::string> places;
  for (const Target& target : targets) {
    THAW_ASSIGN(const std::string path, target.path(anchors));
    std::string place = folded(path);
    for (const std::string& anchor : {anchors.working_directory, anchors.home}) {
      if (anchor.empty() || !is_at_or_below(folded(anchor), place)) continue;
      return Error(Code::invalid,
                   fmt::format("target path \"{}\" is, or holds, {}", target.text(), anchor));
    }
    for (size_t i = 0; i < places.size(); ++i) {
      if (!is_at_or_below(place, places[i]) && !is_at_or_below(places[i], place)) continue;
      return Error(Code::invalid, fmt::format("target paths \"{}\" and \"{}\" overlap",
                                              targets[i].text(), target.text()));
    }
    places.push_back(std::move(place));
  }
  return {};
}

}  // namespace thaw::cache
