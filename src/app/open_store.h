// From a configured name to a store: the only place that names concrete backends and decorators.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "app/config.h"
#include "app/locations.h"
#include "app/store_url.h"
#include "base/environment.h"
#include "object/metered.h"
#include "object/store.h"

namespace thaw {

// Move-only; the store stands on the members before it, so they go together.
struct OpenedStore {
  std::unique_ptr<StoreMeter> meter;
  std::unique_ptr<s3::HttpClient> http;            // of a store in a bucket, as are the next two
  std::unique_ptr<s3::Credentialing> credentials;  // null: requests are not signed
  std::optional<S3Url> bucket;
  std::unique_ptr<ObjectStore> store;
  // The directory that it is on this machine, absolute and without symbolic links; empty when it is
  // not a directory here. Save skips it, restore protects it.
  std::optional<std::string> local_path;
};

// The store that the configuration names, else the embedded one. Touches nothing: a store comes to
// be at its first put, and credentials are looked for at the first request.
Result<OpenedStore> open_store(const Config& config, const Locations& locations,
                               const Environment& environment);

}  // namespace thaw
