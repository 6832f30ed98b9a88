// Scopes: whose entries a job reads, and whether it may write its own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cache/ci.h"

namespace thaw::cache {

// As one segment of a key, never empty; no two texts have one (docs/cache.md, "Address").
std::string segment_of(std::string_view text);

// As segments of keys: the job's own first, which alone it writes, then those that it reads too.
std::vector<std::string> scopes_of(const CiFacts& facts);

// Who may write: "always", "never", or "branches: [main, release/*]".
class WritePolicy {
 public:
  static Result<WritePolicy> parse(std::string_view text);
  // Why the job may not write its scope; empty where it may. A fork's job never may.
  std::optional<std::string> refusal(const CiFacts& facts) const;

 private:
  enum class Who { everybody, nobody, branches };
  Who who_ = Who::everybody;
  std::vector<std::string> branches_;
};

}  // namespace thaw::cache
