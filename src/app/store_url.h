// Where a store is, as people write it.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "object/s3/s3.h"

namespace thaw {

struct DirectoryUrl {
  std::string path;  // absolute
};

struct S3Url {
  s3::S3Options options;
  bool region_named = false;  // else the environment or the profile may say one
  std::string profile;        // of the credentials; empty: the environment's choice
  bool anonymous = false;     // requests are not signed
  std::string ca_file;        // PEM; empty: the system's authorities
};

using StoreUrl = std::variant<DirectoryUrl, S3Url>;

// `file:///abs/path` (percent-encoded), or a plain path, absolute or relative to
// `working_directory`; `s3://bucket/prefix?region=…&endpoint=…` and `gs://bucket/prefix`
// (docs/operations.md lists the parameters). Unknown schemes and parameters are refused, the latter
// with the nearest known one; so is a URL with credentials in it: these are not repeated in the
// message.
Result<StoreUrl> parse_store_url(std::string_view text, std::string_view working_directory);

}  // namespace thaw
