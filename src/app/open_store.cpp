#include "app/open_store.h"

#include <filesystem>
#include <system_error>

#include "object/disk.h"
#include "object/retrying.h"

namespace thaw {
namespace {

// As far as the path exists, without symbolic links; unchanged where that cannot be found out.
std::string resolved(const std::string& path) {
  std::error_code fault;
  const auto canonical = std::filesystem::weakly_canonical(path, fault);
  if (fault) return path;
  std::string text = canonical.string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

Result<> open_directory(const DirectoryUrl& url, const Config& config, OpenedStore& opened) {
  opened.local_path = resolved(url.path);
  THAW_ASSIGN(auto disk, open_disk_store(url.path));
  opened.store = retrying(metered(std::move(disk), *opened.meter), config.retry);
  return {};
}

// The variables of the AWS SDKs, unless the URL says more.
std::string region_of(const S3Url& url, const Environment& environment) {
  if (url.region_named) return url.options.region;
  for (const char* variable : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    if (const auto value = environment(variable)) return *value;
  }
  return url.options.region;
}

void open_bucket(S3Url url, const Config& config, const Environment& environment,
                 OpenedStore& opened) {
  url.options.region = region_of(url, environment);
  url.options.hedge_start = config.hedge_ms;
  s3::HttpOptions http = config.http;
  if (!url.ca_file.empty()) http.ca_file = url.ca_file;
  opened.http = s3::make_http_client(std::move(http));
  if (!url.anonymous) {
    s3::CredentialOptions options;
    options.profile = url.profile;
    options.region = url.options.region;
    if (!config.credentials.access_key_id.empty()) options.fixed = config.credentials;
    opened.credentials =
        s3::credential_chain(std::move(options), environment, *opened.http, system_clock());
  }
  auto bucket =
      s3::make_s3_store(url.options, *opened.http, opened.credentials.get(), system_clock());
  opened.store = retrying(metered(std::move(bucket), *opened.meter), config.retry);
  opened.bucket = std::move(url);
}

}  // namespace

Result<OpenedStore> open_store(const Config& config, const Locations& locations,
                               const Environment& environment) {
  StoreUrl url = DirectoryUrl{locations.store};
  if (config.store) {
    std::error_code fault;
    const auto here = std::filesystem::current_path(fault);
    // A relative name then fails on its own, an absolute one needs no working directory.
    THAW_ASSIGN(url, parse_store_url(*config.store, fault ? "/proc/self/cwd" : here.string()));
  }
  OpenedStore opened;
  opened.meter = std::make_unique<StoreMeter>();
  if (auto* bucket = std::get_if<S3Url>(&url)) {
    open_bucket(std::move(*bucket), config, environment, opened);
  } else {
    THAW_CHECK(open_directory(std::get<DirectoryUrl>(url), config, opened));
  }
  return opened;
}

}  // namespace thaw
