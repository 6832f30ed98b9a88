// What a cache is: the parts of its key, and its targets.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "cache/target.h"

namespace thaw::cache {

// Facts about a job that a key may name.
enum class AgentFact { os, arch, branch, step, pipeline };

struct LiteralPart {
  std::string text;
};
struct AgentPart {
  AgentFact fact;
};
struct EnvPart {
  std::string name;
};
struct ChecksumPart {
  std::vector<std::string> patterns;  // at least one
};
using KeyPart = std::variant<LiteralPart, AgentPart, EnvPart, ChecksumPart>;

// A plain value.
struct Definition {
  std::string name;
  std::vector<KeyPart> key;     // at least one
  size_t required_parts = 0;    // those behind them may fall away from the right; 1 to key.size()
  std::vector<Target> targets;  // sorted, unique, at least one
};

inline constexpr size_t kMostKeyParts = 64;
inline constexpr size_t kMostTargets = 64;
inline constexpr size_t kMostCaches = 256;
inline constexpr size_t kNameBytes = 64;

Result<> check_name(std::string_view name);

// The caches that a file (docs/cache.md, "The file") defines, in its order. Pure. Code::invalid
// names `origin`, line and column.
Result<std::vector<Definition>> parse_cache_file(std::string_view text, const std::string& origin);

// A cache without a file. Each key part is written as in the file.
Result<Definition> define_cache(const std::string& name, const std::vector<std::string>& key_parts,
                                const std::vector<std::string>& paths);

// The one cache file of the working directory `directory`; Code::invalid where there is none, and
// where there are several: then it names them.
Result<std::string> find_cache_file(const std::string& directory);

}  // namespace thaw::cache
