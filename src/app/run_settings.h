// [run]: what `thaw run` restores and saves, where the command line does not say; docs/run.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/settings.h"
#include "base/result.h"
#include "object/s3/credentials.h"

namespace thaw {

// A path with what is its own. A plain value.
struct RunPath {
  std::string path;                  // as it was written
  std::optional<std::string> key{};  // as it was written
  std::optional<std::string> store{};
  s3::Credentials credentials{};  // without a key id: those of the configuration
};

// DECO_CACHE_S3_BUCKET, _REGION and _KEY: the archive of a start, and the key of its snapshot.
struct DecoCache {
  std::string bucket;  // "": none
  std::string region = "us-west-2";
  std::string key;
};

// The settings of one source's paths, put together one by one.
class RunPathSettings {
 public:
  static constexpr std::string_view kPrefix = "run.path.";  // of the settings that belong here

  // "run.path.2.key". Precondition: the name begins with kPrefix.
  Result<> apply(const Setting& setting);
  // All of them, in order; each has to name a path.
  Result<std::vector<RunPath>> finish() const;

 private:
  struct Draft {
    RunPath path;
    std::string where;
  };
  static Result<> set(Draft& draft, std::string_view name, const SettingValue& value);

  std::vector<Draft> drafts_;
};

}  // namespace thaw
