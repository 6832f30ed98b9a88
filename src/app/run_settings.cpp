#include "app/run_settings.h"

#include <charconv>

#include "app/nearest.h"
#include "app/setting_values.h"

namespace thaw {
namespace {

constexpr size_t kMostPaths = 64;

}  // namespace

Result<> RunPathSettings::set(Draft& draft, std::string_view name, const SettingValue& value) {
  THAW_ASSIGN(std::string text, text_of(value));
  if (text.empty()) return expected("something");
  RunPath& path = draft.path;
  if (name == "path") {
    path.path = std::move(text);
  } else if (name == "key") {
    path.key = std::move(text);
  } else if (name == "store") {
    path.store = std::move(text);
  } else if (name == "access_key_id") {
    path.credentials.access_key_id = std::move(text);
  } else if (name == "secret_access_key") {
    path.credentials.secret_access_key = Secret(std::move(text));
  } else if (name == "session_token") {
    path.credentials.session_token = Secret(std::move(text));
  } else {
    const std::vector<std::string> names = {
        "path", "key", "store", "access_key_id", "secret_access_key", "session_token"};
    return Error(Code::invalid, "no path has such a setting" + did_you_mean(name, names));
  }
  return {};
}

Result<> RunPathSettings::apply(const Setting& setting) {
  const std::string_view rest = std::string_view(setting.name).substr(kPrefix.size());
  size_t number = 0;
  const auto [end, fault] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  const auto length = static_cast<size_t>(end - rest.data());
  // A section may be called by any number.
  if (fault != std::errc() || number < 1 || number > kMostPaths || length >= rest.size() ||
      rest[length] != '.') {
    return Error(Code::invalid,
                 setting.where + ": paths are a list of at most 64: write [[run.path]]");
  }
  if (drafts_.size() < number) drafts_.resize(number);
  Draft& draft = drafts_[number - 1];
  if (draft.where.empty()) draft.where = setting.where;
  return set(draft, rest.substr(length + 1), setting.value)
      .within(setting.name)
      .within(setting.where);
}

Result<std::vector<RunPath>> RunPathSettings::finish() const {
  std::vector<RunPath> paths;
  for (const Draft& draft : drafts_) {
    const RunPath& path = draft.path;
    if (path.path.empty())
      return Error(Code::invalid, draft.where + ": an element of run.path needs a path");
    if (path.credentials.access_key_id.empty() != path.credentials.secret_access_key.empty()) {
      return Error(Code::invalid,
                   draft.where + ": access_key_id and secret_access_key go together");
    }
    paths.push_back(path);
  }
  return paths;
}

}  // namespace thaw
