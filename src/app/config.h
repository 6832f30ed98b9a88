// The configuration: what flags, JSON, environment and file say together, over the defaults.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/locations.h"
#include "app/retention_settings.h"
#include "app/run_settings.h"
#include "app/settings.h"
#include "app/tier_settings.h"
#include "base/context.h"
#include "base/environment.h"
#include "base/log.h"
#include "base/result.h"
#include "cache/scope.h"
#include "gc/retention.h"
#include "object/retrying.h"
#include "object/s3/credentials.h"
#include "object/s3/http.h"
#include "snapshot/policy.h"
#include "snapshot/save.h"

namespace thaw {

// A plain value.
struct Config {
  std::optional<std::string> store;  // as it was written; empty: nobody named one
  std::optional<std::chrono::milliseconds> timeout_ms;  // of a whole command; empty: none
  bool advisory = false;
  log::Level log_level = log::Level::warning;
  int compression_level = 3;
  UnchangedBy unchanged_by = UnchangedBy::all;
  Policy policy;
  unsigned threads = 1;
  bool stat_cache = true;
  RetryPolicy retry;
  s3::HttpOptions http;
  std::chrono::milliseconds hedge_ms{150};  // zero: no hedged reads
  s3::Credentials credentials;              // for S3; without a key id: the standard chain
  std::vector<TierConfig> tiers;            // nearest first
  std::vector<gc::RetentionRule> retention;
  cache::WritePolicy cache_write;      // of CI caches
  std::optional<std::string> run_key;  // as it was written
  std::vector<RunPath> run_paths;
  DecoCache deco;
};

// What names configuration, beside the environment.
struct ConfigSources {
  std::optional<std::string> file;         // --config
  std::optional<std::string> json;         // --config-json: a path, or fd:N
  std::optional<std::string> json_text{};  // or what was read from there already
  std::vector<Setting> flags;              // named as in the file
  // Of a command that must not wait for ever, where no source names a timeout.
  std::optional<std::chrono::milliseconds> default_timeout{};
};

// Precedence: flag, JSON, environment (THAW_STORE, THAW_ADVISORY, DECO_CACHE_S3_…), file, default.
// The file is
// --config, else THAW_CONFIG, else the first of `locations.config_files` that exists; a named one
// must exist. Every source is checked whole, also where a higher one overrides it; one that names
// tiers, retention or paths of `run` replaces those of lower ones together. All errors are
// the user's to mend, whatever their code; but cancelled and timeout are the context's end.
Result<Config> load_config(const Context& context, const ConfigSources& sources,
                           const Environment& environment, const Locations& locations);

// What flags and environment alone say, for who could not load the rest: whether the command is
// advisory, and how long it may take. What is no valid setting counts as not given.
struct EarlyConfig {
  bool advisory = false;
  std::optional<std::chrono::milliseconds> timeout_ms;
};
EarlyConfig early_config(const ConfigSources& sources, const Environment& environment);

// The name of every setting, as in the file.
std::vector<std::string> setting_names();

}  // namespace thaw
