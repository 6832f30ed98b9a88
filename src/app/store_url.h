// Where a store is, as people write it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace thaw {

// A store in a directory: the one kind that this build knows.
struct StoreUrl {
  std::string path;  // absolute
};

// `file:///abs/path` (percent-encoded), or a plain path, absolute or relative to
// `working_directory`. `s3://…` and unknown schemes are refused, as is a URL with a user or
// password in it: these are not repeated in the message.
Result<StoreUrl> parse_store_url(std::string_view text, std::string_view working_directory);

}  // namespace thaw
