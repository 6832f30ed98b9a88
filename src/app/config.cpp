#include "app/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "app/duration.h"
#include "app/nearest.h"
#include "app/setting_values.h"
#include "app/tier_settings.h"
#include "base/task_group.h"

namespace thaw {
namespace {

constexpr std::chrono::seconds kAdvisoryTimeout{60};
constexpr int64_t kMostThreads = 256;

// The configuration while it is put together.
struct Draft {
  Config config;
  bool timeout_named = false;
  bool use_tiers = true;
  TierSettings tiers;
  RetentionSettings retention;
  RunPathSettings run_paths;
};

// --- settings

Result<> set_store(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(draft.config.store, text_of(value));
  if (draft.config.store->empty()) return expected("the URL or directory of a store");
  return {};
}

Result<> set_timeout(Draft& draft, const SettingValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) return expected("a duration in quotes, like \"30s\"");
  draft.timeout_named = true;
  draft.config.timeout_ms.reset();
  if (*text == "none") return {};
  THAW_ASSIGN(draft.config.timeout_ms, parse_duration(*text));
  return {};
}

Result<> set_log_level(Draft& draft, const SettingValue& value) {
  using log::Level;
  constexpr std::pair<const char*, Level> kLevels[] = {{"debug", Level::debug},
                                                       {"info", Level::info},
                                                       {"warning", Level::warning},
                                                       {"error", Level::error},
                                                       {"off", Level::off}};
  if (const auto* text = std::get_if<std::string>(&value)) {
    for (const auto& [name, level] : kLevels) {
      if (*text != name) continue;
      draft.config.log_level = level;
      return {};
    }
  }
  return expected("\"debug\", \"info\", \"warning\", \"error\" or \"off\"");
}

Result<> set_unchanged_by(Draft& draft, const SettingValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  if (text != nullptr && *text == "all") {
    draft.config.unchanged_by = UnchangedBy::all;
  } else if (text != nullptr && *text == "content") {
    draft.config.unchanged_by = UnchangedBy::content;
  } else {
    return expected("\"all\" or \"content\"");
  }
  return {};
}

Result<> set_compression_level(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(const int64_t level, integer_of(value, 1, 19));
  draft.config.compression_level = static_cast<int>(level);
  return {};
}

Result<> set_accept_after_refusals(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(const int64_t count, integer_of(value, 0, 1'000'000));
  draft.config.policy.accept_after_refusals = static_cast<uint32_t>(count);
  return {};
}

Result<> set_shrink_below(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(draft.config.policy.shrink_below, share_of(value));
  return {};
}

Result<> set_threads(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(const int64_t count, integer_of(value, 1, kMostThreads));
  draft.config.threads = static_cast<unsigned>(count);
  return {};
}

// --- the network

template <auto Target>
Result<> set_duration(Draft& draft, const SettingValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) return expected("a duration in quotes, like \"500ms\"");
  THAW_ASSIGN(*Target(draft.config), parse_duration(*text));
  return {};
}

Result<> set_hedge(Draft& draft, const SettingValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  if (text != nullptr && *text == "off") {
    draft.config.hedge_ms = std::chrono::milliseconds(0);
    return {};
  }
  return set_duration<[](Config& config) { return &config.hedge_ms; }>(draft, value);
}

Result<> set_attempts(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(const int64_t count, integer_of(value, 1, 100));
  draft.config.retry.attempts = static_cast<unsigned>(count);
  return {};
}

template <auto Target>
Result<> set_text(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(*Target(draft.config), text_of(value));
  return {};
}

template <auto Target>
Result<> set_secret(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(std::string text, text_of(value));
  *Target(draft.config) = Secret(std::move(text));
  return {};
}

template <auto Member>
Result<> set_switch(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(draft.config.*Member, switch_of(value));
  return {};
}

template <auto Member>
Result<> set_policy_switch(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(draft.config.policy.*Member, switch_of(value));
  return {};
}

// --- CI caches

Result<> set_cache_write(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(const std::string text, text_of(value));
  THAW_ASSIGN(draft.config.cache_write, cache::WritePolicy::parse(text));
  return {};
}

// --- `run`

Result<> set_run_key(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(draft.config.run_key, text_of(value));
  if (draft.config.run_key->empty()) return expected("a key");
  return {};
}

// --- tiers

Result<> set_use_tiers(Draft& draft, const SettingValue& value) {
  THAW_ASSIGN(draft.use_tiers, switch_of(value));
  return {};
}

struct Known {
  const char* name;
  Result<> (*set)(Draft&, const SettingValue&);
};

constexpr Known kKnown[] = {
    {"store", set_store},
    {"timeout", set_timeout},
    {"advisory", set_switch<&Config::advisory>},
    {"log_level", set_log_level},
    {"stat_cache", set_switch<&Config::stat_cache>},
    {"save.compression_level", set_compression_level},
    {"save.unchanged_by", set_unchanged_by},
    {"policy.allow_empty", set_policy_switch<&Policy::allow_empty>},
    {"policy.allow_shrink", set_policy_switch<&Policy::allow_shrink>},
    {"policy.shrink_below", set_shrink_below},
    {"policy.accept_after_refusals", set_accept_after_refusals},
    {"limits.threads", set_threads},
    {"tiers", set_use_tiers},
    {"cache.write", set_cache_write},
    {"retry.attempts", set_attempts},
    {"retry.base", set_duration<[](Config& config) { return &config.retry.base_ms; }>},
    {"retry.cap", set_duration<[](Config& config) { return &config.retry.cap_ms; }>},
    {"s3.connect_timeout",
     set_duration<[](Config& config) { return &config.http.connect_timeout; }>},
    {"s3.stall_timeout", set_duration<[](Config& config) { return &config.http.stall_timeout; }>},
    {"s3.hedge_after", set_hedge},
    {"s3.ca_file", set_text<[](Config& config) { return &config.http.ca_file; }>},
    {"s3.access_key_id",
     set_text<[](Config& config) { return &config.credentials.access_key_id; }>},
    {"s3.secret_access_key",
     set_secret<[](Config& config) { return &config.credentials.secret_access_key; }>},
    {"s3.session_token",
     set_secret<[](Config& config) { return &config.credentials.session_token; }>},
    {"run.key", set_run_key},
    {"DECO_CACHE_S3_BUCKET", set_text<[](Config& config) { return &config.deco.bucket; }>},
    {"DECO_CACHE_S3_REGION", set_text<[](Config& config) { return &config.deco.region; }>},
    {"DECO_CACHE_S3_KEY", set_text<[](Config& config) { return &config.deco.key; }>},
};

Result<> apply(Draft& draft, const Setting& setting) {
  if (setting.name.starts_with(TierSettings::kPrefix)) return draft.tiers.apply(setting);
  if (setting.name.starts_with(RetentionSettings::kPrefix)) return draft.retention.apply(setting);
  if (setting.name.starts_with(RunPathSettings::kPrefix)) return draft.run_paths.apply(setting);
  for (const Known& known : kKnown) {
    if (setting.name != known.name) continue;
    return known.set(draft, setting.value).within(setting.name).within(setting.where);
  }
  return Error(Code::invalid,
               fmt::format("{}: unknown setting \"{}\"{}", setting.where, setting.name,
                           did_you_mean(setting.name, setting_names())));
}

Result<> apply_all(Draft& draft, const std::vector<Setting>& settings) {
  const auto speaks_of = [&](std::string_view prefix) {
    return std::any_of(settings.begin(), settings.end(),
                       [&](const Setting& each) { return each.name.starts_with(prefix); });
  };
  if (speaks_of(TierSettings::kPrefix)) draft.tiers = TierSettings();
  if (speaks_of(RetentionSettings::kPrefix)) draft.retention = RetentionSettings();
  if (speaks_of(RunPathSettings::kPrefix)) draft.run_paths = RunPathSettings();
  for (const Setting& setting : settings) THAW_CHECK(apply(draft, setting));
  return {};
}

// --- sources

Result<std::vector<Setting>> settings_of_file(const Context& context, const ConfigSources& sources,
                                              const Environment& environment,
                                              const Locations& locations) {
  std::optional<std::string> named = sources.file;
  const char* named_by = "--config";
  if (!named) {
    named = environment("THAW_CONFIG");
    named_by = "THAW_CONFIG";
  }
  if (named) {
    auto text = read_config_source(context, *named);
    if (!text) return std::move(text).error().within(named_by);
    return settings_of_toml(*text, *named);
  }
  for (const std::string& path : locations.config_files) {
    auto text = read_config_source(context, path);
    if (text) return settings_of_toml(*text, path);
    if (text.error().code() != Code::not_found) return std::move(text).error();
  }
  return std::vector<Setting>();
}

Result<std::vector<Setting>> settings_of_json_source(const Context& context,
                                                     const ConfigSources& sources) {
  if (sources.json_text) return settings_of_json(*sources.json_text, sources.json.value_or("JSON"));
  if (!sources.json) return std::vector<Setting>();
  auto text = read_config_source(context, *sources.json);
  if (!text) return std::move(text).error().within("--config-json");
  return settings_of_json(*text, *sources.json);
}

std::vector<Setting> settings_of_environment(const Environment& environment) {
  std::vector<Setting> settings;
  for (const auto& [variable, name] :
       {std::pair("THAW_STORE", "store"), std::pair("THAW_ADVISORY", "advisory"),
        std::pair("DECO_CACHE_S3_BUCKET", "DECO_CACHE_S3_BUCKET"),
        std::pair("DECO_CACHE_S3_REGION", "DECO_CACHE_S3_REGION"),
        std::pair("DECO_CACHE_S3_KEY", "DECO_CACHE_S3_KEY")}) {
    if (auto value = environment(variable)) settings.push_back({name, *std::move(value), variable});
  }
  return settings;
}

}  // namespace

std::vector<std::string> setting_names() {
  std::vector<std::string> names;
  for (const Known& known : kKnown) names.emplace_back(known.name);
  return names;
}

EarlyConfig early_config(const ConfigSources& sources, const Environment& environment) {
  Draft draft;
  for (const auto& settings : {settings_of_environment(environment), sources.flags}) {
    for (const Setting& setting : settings) {
      if (setting.name != "advisory" && setting.name != "timeout") continue;
      // load_config() tells what is wrong with it.
      [[maybe_unused]] const auto applied = apply(draft, setting);
    }
  }
  return {draft.config.advisory, draft.config.timeout_ms};
}

Result<Config> load_config(const Context& context, const ConfigSources& sources,
                           const Environment& environment, const Locations& locations) {
  Draft draft;
  draft.config.threads = usable_cores();
  THAW_ASSIGN(const auto from_file, settings_of_file(context, sources, environment, locations));
  THAW_CHECK(apply_all(draft, from_file));
  THAW_CHECK(apply_all(draft, settings_of_environment(environment)));
  THAW_ASSIGN(const auto from_json, settings_of_json_source(context, sources));
  THAW_CHECK(apply_all(draft, from_json));
  THAW_CHECK(apply_all(draft, sources.flags));
  if (draft.config.credentials.access_key_id.empty() !=
      draft.config.credentials.secret_access_key.empty()) {
    return Error(Code::invalid, "s3.access_key_id and s3.secret_access_key go together");
  }
  THAW_ASSIGN(draft.config.tiers, draft.tiers.finish());
  if (!draft.use_tiers) draft.config.tiers.clear();
  THAW_ASSIGN(draft.config.retention, draft.retention.finish());
  THAW_ASSIGN(draft.config.run_paths, draft.run_paths.finish());
  // What helps must not hold up for ever what it helps.
  if (draft.timeout_named) return std::move(draft.config);
  if (sources.default_timeout) {
    draft.config.timeout_ms = sources.default_timeout;
  } else if (draft.config.advisory) {
    draft.config.timeout_ms = kAdvisoryTimeout;
  }
  return std::move(draft.config);
}

}  // namespace thaw
