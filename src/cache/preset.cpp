#include "cache/preset.h"

#include <algorithm>

namespace thaw::cache {
namespace {

Definition preset(const char* name, const char* checksum, const std::vector<const char*>& paths) {
  Definition made;
  made.name = name;
  made.key = {LiteralPart{std::string("v1-") + name}, AgentPart{AgentFact::os},
              AgentPart{AgentFact::arch}};
  made.required_parts = made.key.size();
  made.key.emplace_back(ChecksumPart{{checksum}});
  // These paths are our own, and right.
  for (const char* path : paths) made.targets.push_back(*Target::parse(path));
  std::sort(made.targets.begin(), made.targets.end());
  return made;
}

const std::vector<Definition>& presets() {
  static const std::vector<Definition> all = {
      // What `npm ci` fills; node_modules itself it deletes first.
      preset("npm", "package-lock.json", {"~/.npm"}),
      preset("cargo", "Cargo.lock", {"~/.cargo/registry", "target"}),
      preset("pip", "**/requirements*.txt", {"~/.cache/pip"}),
  };
  return all;
}

}  // namespace

const Definition* find_preset(std::string_view name) {
  for (const Definition& each : presets()) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

std::string preset_names() { return "npm, cargo or pip"; }

}  // namespace thaw::cache
