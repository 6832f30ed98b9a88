// A bucket, and what requests to it need.
#pragma once

#include <memory>
#include <optional>

#include "app/config.h"
#include "app/store_url.h"
#include "base/environment.h"
#include "object/multipart.h"
#include "object/store.h"

namespace thaw {

// What a store in a bucket stands on. Empty for a directory.
struct BucketParts {
  std::unique_ptr<s3::HttpClient> http;
  std::unique_ptr<s3::Credentialing> credentials;  // null: requests are not signed
  std::optional<S3Url> url;
};

// Sets up client and credentials for requests to the bucket of `url`, which are looked for at the
// first one.
void open_bucket(S3Url url, const Config& config, const Environment& environment,
                 BucketParts& parts);

// The bucket itself, without decorators. `parts` outlives it.
std::unique_ptr<ObjectStore> open_bucket_store(S3Url url, const Config& config,
                                               const Environment& environment, BucketParts& parts);

}  // namespace thaw
