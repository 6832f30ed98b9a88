#include "app/open_archive.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "app/store_url.h"
#include "object/retrying.h"

namespace thaw {
namespace {

Result<StoreUrl> parse(const std::string& name) {
  std::error_code fault;
  const auto here = std::filesystem::current_path(fault);
  THAW_ASSIGN(StoreUrl url, parse_store_url(name, fault ? "/proc/self/cwd" : here.string()));
  const auto* bucket = std::get_if<S3Url>(&url);
  if (bucket != nullptr && bucket->options.prefix.empty()) {
    return Error(Code::invalid, "the URL names a bucket and no object in it");
  }
  return url;
}

}  // namespace

Result<> check_archive_name(const std::string& name) {
  THAW_CHECK(parse(name).within("archive"));
  return {};
}

Result<OpenedArchive> open_archive(const std::string& name, const Config& config,
                                   const Environment& environment) {
  THAW_ASSIGN(StoreUrl url, parse(name).within("archive"));
  OpenedArchive opened;
  opened.meter = std::make_unique<StoreMeter>();
  if (auto* directory = std::get_if<DirectoryUrl>(&url)) {
    opened.path = std::move(directory->path);
    return opened;
  }
  S3Url& bucket = std::get<S3Url>(url);
  std::string& prefix = bucket.options.prefix;
  const size_t slash = prefix.rfind('/');
  THAW_ASSIGN(ObjectKey key,
              ObjectKey::parse(slash == std::string::npos ? prefix : prefix.substr(slash + 1)));
  prefix.resize(slash == std::string::npos ? 0 : slash);
  auto store = open_bucket_store(std::move(bucket), config, environment, opened.bucket);
  opened.store = retrying(metered(std::move(store), *opened.meter), config.retry);
  opened.parts = retrying(s3::make_s3_multipart(opened.bucket.url->options, *opened.bucket.http,
                                                opened.bucket.credentials.get(), system_clock()),
                          config.retry);
  opened.key = std::move(key);
  return opened;
}

}  // namespace thaw
