#include "app/open_bucket.h"

#include <utility>

namespace thaw {
namespace {

// The variables of the AWS SDKs, unless the URL says more.
std::string region_of(const S3Url& url, const Environment& environment) {
  if (url.region_named) return url.options.region;
  for (const char* variable : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    if (const auto value = environment(variable)) return *value;
  }
  return url.options.region;
}

}  // namespace

void open_bucket(S3Url url, const Config& config, const Environment& environment,
                 BucketParts& parts) {
  url.options.region = region_of(url, environment);
  url.options.hedge_start = config.hedge_ms;
  s3::HttpOptions http = config.http;
  if (!url.ca_file.empty()) http.ca_file = url.ca_file;
  parts.http = s3::make_http_client(std::move(http));
  if (!url.anonymous) {
    s3::CredentialOptions options;
    options.profile = url.profile;
    options.region = url.options.region;
    if (!config.credentials.access_key_id.empty()) options.fixed = config.credentials;
    parts.credentials =
        s3::credential_chain(std::move(options), environment, *parts.http, system_clock());
  }
  parts.url = std::move(url);
}

std::unique_ptr<ObjectStore> open_bucket_store(S3Url url, const Config& config,
                                               const Environment& environment, BucketParts& parts) {
  open_bucket(std::move(url), config, environment, parts);
  return s3::make_s3_store(parts.url->options, *parts.http, parts.credentials.get(),
                           system_clock());
}

}  // namespace thaw
