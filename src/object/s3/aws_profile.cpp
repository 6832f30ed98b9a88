#include "object/s3/aws_profile.h"

#include <fmt/format.h>

#include <algorithm>

namespace thaw::s3 {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

bool is_blank(char c) { return c == ' ' || c == '\t'; }
bool is_comment(std::string_view text) { return text.starts_with('#') || text.starts_with(';'); }

// `"my profile"` and `'my profile'`, as botocore reads them.
std::string_view unquoted(std::string_view text) {
  const bool quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
                      text.back() == text.front();
  return quoted ? text.substr(1, text.size() - 2) : text;
}

// Cuts off a comment: '#' or ';' after a blank.
std::string_view without_comment(std::string_view text) {
  for (size_t i = 1; i < text.size(); ++i) {
    if (is_blank(text[i - 1]) && is_comment(text.substr(i))) return text.substr(0, i);
  }
  return text;
}

std::string lower(std::string_view text) {
  std::string low(text);
  for (char& c : low) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return low;
}

bool is_unserved(std::string_view setting) {
  return setting.starts_with("sso_") || setting == "source_profile" ||
         setting == "credential_source" || setting == "credential_process" ||
         setting == "login_session";
}

void set(Profile& profile, const std::string& setting, std::string_view value,
         const std::string& where) {
  if (setting == "aws_access_key_id") {
    profile.access_key_id = value;
    profile.keys_where = where;
  } else if (setting == "aws_secret_access_key") {
    profile.secret_access_key = Secret(std::string(value));
    profile.keys_where = where;
  } else if (setting == "aws_session_token") {
    profile.session_token = Secret(std::string(value));
  } else if (setting == "role_arn") {
    profile.role_arn = value;
    profile.role_where = where;
  } else if (setting == "role_session_name") {
    profile.role_session_name = value;
  } else if (setting == "web_identity_token_file") {
    profile.web_identity_token_file = value;
    if (profile.role_where.empty()) profile.role_where = where;
  } else if (setting == "region") {
    profile.region = value;
  } else if (setting == "endpoint_url") {
    profile.endpoint_url = value;
  } else if (is_unserved(setting) && !value.empty() && profile.unserved.empty()) {
    profile.unserved = setting;
    profile.unserved_where = where;
  }
}

// Takes a file line by line.
class ProfileReader {
 public:
  ProfileReader(ProfileFile kind, std::string_view name, const std::string& origin)
      : kind_(kind), name_(name), origin_(origin) {}

  Result<> take(std::string_view line) {
    ++line_;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.size() > kProfileLineBytes) return fault("the line is too long");
    if (line.find('\0') != std::string_view::npos) return fault("the line holds a NUL");
    const size_t indent = line.find_first_not_of(kBlanks);
    if (indent == std::string_view::npos || is_comment(line.substr(indent))) return {};
    // Deeper than the setting above it, a line belongs to that one.
    if (setting_indent_ && indent > *setting_indent_) return {};
    const std::string_view text = trimmed(line);
    if (text.starts_with('[')) return open_section(text);
    return take_setting(text, indent);
  }

  std::optional<Profile> finish() && {
    // AWS: where both are, [default] is not read.
    return prefixed_ ? std::move(prefixed_) : std::move(plain_);
  }

 private:
  Error fault(std::string_view what) const {
    return {Code::invalid, fmt::format("{}:{}: {}", origin_, line_, what)};
  }

  Result<> open_section(std::string_view text) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return fault("the section's name has no ']' behind it");
    const std::string_view after = trimmed(text.substr(close + 1));
    if (!after.empty() && !is_comment(after)) return fault("text behind the section's ']'");
    const std::string_view title = trimmed(text.substr(1, close - 1));
    if (title.empty()) return fault("a section without a name");
    in_section_ = true;
    setting_indent_.reset();
    section_ = section_of(title);
    if (section_ != nullptr && !*section_) section_->emplace();
    return {};
  }

  // Null for one that is not asked for.
  std::optional<Profile>* section_of(std::string_view title) {
    if (kind_ == ProfileFile::credentials) return unquoted(title) == name_ ? &plain_ : nullptr;
    constexpr std::string_view kPrefix = "profile";
    if (title.starts_with(kPrefix) && title.size() > kPrefix.size() &&
        is_blank(title[kPrefix.size()])) {
      const std::string_view name = unquoted(trimmed(title.substr(kPrefix.size())));
      return name == name_ ? &prefixed_ : nullptr;
    }
    return title == "default" && name_ == title ? &plain_ : nullptr;
  }

  Result<> take_setting(std::string_view text, size_t indent) {
    if (!in_section_) return fault("text before the first [section]");
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos)
      return fault("neither \"[section]\" nor \"name = value\"");
    const std::string_view setting = trimmed(text.substr(0, equals));
    if (setting.empty()) return fault("a value without a name");
    setting_indent_ = indent;
    if (section_ == nullptr) return {};
    // The character before it is '=', no blank: a value may begin with '#'.
    const std::string_view value = trimmed(without_comment(text.substr(equals + 1)));
    set(**section_, lower(setting), value, fmt::format("{}:{}", origin_, line_));
    return {};
  }

  const ProfileFile kind_;
  const std::string_view name_;
  const std::string& origin_;
  size_t line_ = 0;
  bool in_section_ = false;
  std::optional<size_t> setting_indent_;  // of the last one in this section
  std::optional<Profile> plain_;          // [NAME]
  std::optional<Profile> prefixed_;       // [profile NAME]
  std::optional<Profile>* section_ = nullptr;
};

}  // namespace

Result<std::optional<Profile>> parse_profile(std::string_view text, ProfileFile kind,
                                             std::string_view name, const std::string& origin) {
  if (text.size() > kProfileFileBytes) {
    return Error(Code::invalid, origin + " is larger than the limit of 1 MiB");
  }
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  ProfileReader reader(kind, name, origin);
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    THAW_CHECK(reader.take(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return std::move(reader).finish();
}

Profile merged(Profile over, Profile under) {
  if (over.access_key_id.empty() && over.secret_access_key.empty()) {
    over.access_key_id = std::move(under.access_key_id);
    over.secret_access_key = std::move(under.secret_access_key);
    over.session_token = std::move(under.session_token);
    over.keys_where = std::move(under.keys_where);
  }
  if (over.role_arn.empty()) over.role_arn = std::move(under.role_arn);
  if (over.role_where.empty()) over.role_where = std::move(under.role_where);
  if (over.role_session_name.empty()) over.role_session_name = std::move(under.role_session_name);
  if (over.web_identity_token_file.empty()) {
    over.web_identity_token_file = std::move(under.web_identity_token_file);
  }
  if (over.region.empty()) over.region = std::move(under.region);
  if (over.endpoint_url.empty()) over.endpoint_url = std::move(under.endpoint_url);
  if (over.unserved.empty()) {
    over.unserved = std::move(under.unserved);
    over.unserved_where = std::move(under.unserved_where);
  }
  return over;
}

}  // namespace thaw::s3
