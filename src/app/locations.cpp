#include "app/locations.h"

namespace thaw {
namespace {

std::optional<std::string> absolute(const Environment& environment, const char* name) {
  auto value = environment(name);
  if (!value || value->front() != '/') return std::nullopt;
  while (value->size() > 1 && value->back() == '/') value->pop_back();
  return value;
}

std::string below(const std::string& folder, const char* name) {
  return folder == "/" ? folder + name : folder + '/' + name;
}

}  // namespace

Locations locate(const Environment& environment) {
  Locations found;
  found.home = absolute(environment, "HOME");

  // The folder of ours below an XDG directory, or below HOME where XDG puts that by default.
  auto ours = [&](const char* variable, const char* under_home) -> std::optional<std::string> {
    if (auto base = absolute(environment, variable)) return below(*base, "thaw");
    if (found.home) return below(below(*found.home, under_home), "thaw");
    return std::nullopt;
  };
  const std::string data = ours("XDG_DATA_HOME", ".local/share").value_or("/var/lib/thaw");
  found.store = below(data, "store");
  found.golden = absolute(environment, "THAW_GOLDEN_ROOT").value_or(below(data, "golden"));
  found.stat_cache = ours("XDG_CACHE_HOME", ".cache").value_or("/var/cache/thaw");
  if (auto folder = ours("XDG_CONFIG_HOME", ".config")) {
    found.config_files.push_back(below(*folder, "thaw.toml"));
  }
  found.config_files.emplace_back("/etc/thaw/thaw.toml");
  return found;
}

}  // namespace thaw
