// [[tier]]: the tiers that the configuration puts in front of the store; docs/operations.md,
// "Tiers".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/settings.h"
#include "base/result.h"
#include "index/redis_url.h"
#include "object/block_cache.h"

namespace thaw {

// A tier in front of the store. A plain value.
struct TierConfig {
  enum class Kind { disk, bucket };
  Kind kind = Kind::disk;
  std::string place;       // disk: an absolute path; bucket: a URL
  uint64_t max_bytes = 0;  // 0: no bound
  uint32_t block_bytes = 4 * 1024 * 1024;
  TierFill fill = TierFill::async;
  enum class Index { off, sqlite, redis };
  Index index = Index::off;
  RedisUrl redis;     // for Index::redis
  std::string where;  // for messages: "/etc/thaw/thaw.toml:3"
};

// The settings of one source's tiers, put together one by one.
class TierSettings {
 public:
  static constexpr std::string_view kPrefix = "tier.";  // of the settings that belong here

  // "tier.2.path". Precondition: the name begins with kPrefix.
  Result<> apply(const Setting& setting);
  // All of them, nearest first; each has to be complete.
  Result<std::vector<TierConfig>> finish() const;

 private:
  struct Draft {
    std::optional<std::string> kind, path, url, index;
    TierConfig tier;
  };
  static Result<> set(Draft& draft, std::string_view name, const SettingValue& value);

  std::vector<Draft> drafts_;
};

}  // namespace thaw
