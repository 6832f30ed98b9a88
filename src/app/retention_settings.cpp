#include "app/retention_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "app/duration.h"
#include "app/nearest.h"
#include "app/setting_values.h"

namespace thaw {
namespace {

constexpr size_t kMostRules = 256;
constexpr int64_t kMostGenerations = 1'000'000'000;

Result<std::chrono::seconds> age_of(const SettingValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) return expected("an age in quotes, like \"30d\"");
  THAW_ASSIGN(const auto age, parse_duration(*text));
  return std::chrono::duration_cast<std::chrono::seconds>(age);
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

// "pin, release=*"
Result<std::vector<gc::LabelPattern>> labels_of(const SettingValue& value) {
  THAW_ASSIGN(const std::string text, text_of(value));
  std::vector<gc::LabelPattern> patterns;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view one = trimmed(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    const size_t equals = one.find('=');
    gc::LabelPattern pattern;
    pattern.name = one.substr(0, equals);
    if (equals != std::string_view::npos) pattern.value = one.substr(equals + 1);
    if (pattern.name.empty()) return expected("labels, like \"pin, release=*\"");
    patterns.push_back(std::move(pattern));
  }
  if (patterns.empty()) return expected("labels, like \"pin, release=*\"");
  return patterns;
}

}  // namespace

Result<> RetentionSettings::set(Draft& draft, std::string_view name, const SettingValue& value) {
  if (name == "prefix") {
    THAW_ASSIGN(draft.rule.prefix, text_of(value));
    draft.named = true;
    while (draft.rule.prefix.ends_with('/')) draft.rule.prefix.pop_back();
    // No key has it, so that a slip never keeps everything, or nothing.
    if (!draft.rule.prefix.empty()) THAW_CHECK(Key::parse(draft.rule.prefix));
  } else if (name == "keep_last") {
    THAW_ASSIGN(const int64_t count, integer_of(value, 1, kMostGenerations));
    draft.rule.keep_last = static_cast<uint64_t>(count);
  } else if (name == "keep_within") {
    THAW_ASSIGN(draft.rule.keep_within, age_of(value));
  } else if (name == "keep_label") {
    THAW_ASSIGN(draft.rule.keep_label, labels_of(value));
  } else if (name == "ttl") {
    THAW_ASSIGN(draft.rule.ttl, age_of(value));
  } else {
    const std::vector<std::string> names = {"prefix", "keep_last", "keep_within", "keep_label",
                                            "ttl"};
    return Error(Code::invalid, "no retention has such a setting" + did_you_mean(name, names));
  }
  return {};
}

Result<> RetentionSettings::apply(const Setting& setting) {
  const std::string_view rest = std::string_view(setting.name).substr(kPrefix.size());
  size_t number = 0;
  const auto [end, fault] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  const auto length = static_cast<size_t>(end - rest.data());
  if (fault != std::errc() || number < 1 || number > kMostRules || length >= rest.size() ||
      rest[length] != '.') {
    return Error(Code::invalid, setting.where + ": rules are a list: write [[retention]]");
  }
  if (drafts_.size() < number) drafts_.resize(number);
  Draft& draft = drafts_[number - 1];
  if (draft.where.empty()) draft.where = setting.where;
  return set(draft, rest.substr(length + 1), setting.value)
      .within(setting.name)
      .within(setting.where);
}

Result<std::vector<gc::RetentionRule>> RetentionSettings::finish() const {
  std::vector<gc::RetentionRule> rules;
  for (const Draft& draft : drafts_) {
    auto refuse = [&](const std::string& why) {
      return Error(Code::invalid, fmt::format("{}: a retention {}", draft.where, why));
    };
    const gc::RetentionRule& rule = draft.rule;
    if (!draft.named) return refuse("needs a prefix; \"\" is every key");
    if (!rule.keep_last && !rule.keep_within && rule.keep_label.empty() && !rule.ttl) {
      return refuse("needs keep_last, keep_within, keep_label or ttl");
    }
    const bool twice = std::any_of(rules.begin(), rules.end(),
                                   [&](const auto& other) { return other.prefix == rule.prefix; });
    if (twice) return refuse("for \"" + rule.prefix + "\" is there already");
    rules.push_back(rule);
  }
  return rules;
}

}  // namespace thaw
