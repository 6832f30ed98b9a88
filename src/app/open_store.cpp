#include "app/open_store.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "app/open_bucket.h"
#include "base/log.h"
#include "format/checksum.h"
#include "index/redis_index.h"
#include "index/sqlite_index.h"
#include "object/block_cache.h"
#include "object/disk.h"
#include "object/disk_tier.h"
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

// Where something lies: a directory's path, or a bucket's host and prefix, with a slash at the end.
// What lies in another has its place as a beginning.
std::string place_of_path(const std::string& path) { return resolved(path) + '/'; }
std::string place_of_bucket(const s3::S3Options& bucket) {
  const char* usual = bucket.dialect == s3::Dialect::google ? "gs:" : "s3:";
  std::string place = bucket.endpoint.empty() ? usual : bucket.endpoint;
  place += '/' + bucket.bucket + '/';
  if (!bucket.prefix.empty()) place += bucket.prefix + '/';
  return place;
}

bool meet(const std::string& a, const std::string& b) {
  return a.starts_with(b) || b.starts_with(a);
}

struct Fast {
  std::unique_ptr<ObjectStore> store;
  std::unique_ptr<BlockClaims> claims;
  std::string place;
};

// Code::invalid where it is no tier, or cannot be one; else it cannot be opened for now.
Result<Fast> open_fast(const TierConfig& tier, const Config& config, const Environment& environment,
                       BucketParts& parts) {
  if (tier.kind == TierConfig::Kind::disk) {
    THAW_ASSIGN(DiskTier disk, open_disk_tier(tier.place));
    return Fast{std::move(disk.store), std::move(disk.claims), place_of_path(tier.place)};
  }
  THAW_ASSIGN(StoreUrl url, parse_store_url(tier.place, "/"));
  auto* bucket = std::get_if<S3Url>(&url);
  if (bucket == nullptr) {
    return Error(Code::invalid, "a tier of kind \"bucket\" has a url of s3:// or gs://");
  }
  Fast fast;
  fast.store = open_bucket_store(std::move(*bucket), config, environment, parts);
  fast.place = place_of_bucket(parts.url->options);
  return fast;
}

// Asks nobody yet. Null: there is none.
std::unique_ptr<RecencyIndex> open_index(const TierConfig& tier, const std::string& place,
                                         TierMeter& meter) {
  switch (tier.index) {
    case TierConfig::Index::off:
      return nullptr;
    case TierConfig::Index::sqlite:
      return make_sqlite_index({place + std::string(kTierIndexName)}, meter);
    case TierConfig::Index::redis:
      break;
  }
  RedisIndexOptions options{tier.redis};
  // Machines that share a bucket name it alike; what lies in another bucket is not theirs.
  if (options.url.prefix.empty()) {
    options.url.prefix = fmt::format("thaw-{:016x}", checksum64(as_bytes(place)));
  }
  return make_redis_index(std::move(options));
}

// Puts the tiers in front of a store.
class TierStack {
 public:
  TierStack(const Config& config, const Environment& environment, const Context& process,
            std::string store_place)
      : config_(config), environment_(environment), process_(process) {
    places_.push_back(std::move(store_place));
  }

  // Farthest first: each is put before what came before it.
  Result<> put_before(const TierConfig& tier, const std::string& store_name, OpenedStore& opened) {
    OpenedTier made;
    auto fast = open_fast(tier, config_, environment_, made.bucket).within(tier.where);
    if (!fast && fast.error().code() == Code::invalid) return std::move(fast).error();
    if (!fast) {
      log::warn("a tier is left out: {}", fast.error().text());
      return {};
    }
    for (const std::string& other : places_) {
      if (!meet(fast->place, other)) continue;
      return Error(Code::invalid, fmt::format("{}: a tier lies in the place of another, or of the "
                                              "store: {}",
                                              tier.where, tier.place));
    }
    places_.push_back(fast->place);
    BlockCacheOptions options;
    options.store_name = store_name;
    options.block_bytes = tier.block_bytes;
    options.fill = tier.fill;
    options.max_bytes = tier.max_bytes;
    options.reads_pieces = tier.kind == TierConfig::Kind::disk;
    made.name = fast->store->describe();
    made.meter = std::make_unique<TierMeter>();
    auto index = open_index(tier, fast->place, *made.meter);
    made.has_index = index != nullptr;
    opened.store =
        block_cache(std::move(opened.store), std::move(fast->store), std::move(fast->claims),
                    std::move(options), *made.meter, process_, std::move(index));
    opened.tiers.insert(opened.tiers.begin(), std::move(made));
    return {};
  }

 private:
  const Config& config_;
  const Environment& environment_;
  const Context& process_;
  std::vector<std::string> places_;
};

}  // namespace

Result<TierPlaces> open_tiers(const Config& config, const Environment& environment) {
  TierPlaces places;
  for (const TierConfig& tier : config.tiers) {
    TierPlace place;
    auto fast = open_fast(tier, config, environment, place.bucket).within(tier.where);
    if (!fast && fast.error().code() == Code::invalid) return std::move(fast).error();
    if (!fast) {
      places.faults.push_back(fast.error().text());
      continue;
    }
    place.where = tier.where;
    place.max_bytes = tier.max_bytes;
    if (tier.kind == TierConfig::Kind::disk) place.directory = tier.place;
    place.name = fast->store->describe();
    place.meter = std::make_unique<TierMeter>();
    place.index = open_index(tier, fast->place, *place.meter);
    place.store = std::move(fast->store);
    place.claims = std::move(fast->claims);
    places.tiers.push_back(std::move(place));
  }
  return places;
}

Result<OpenedStore> open_store(const Config& config, const Locations& locations,
                               const Environment& environment, const Context& process) {
  StoreUrl url = DirectoryUrl{locations.store};
  if (config.store) {
    std::error_code fault;
    const auto here = std::filesystem::current_path(fault);
    // A relative name then fails on its own, an absolute one needs no working directory.
    THAW_ASSIGN(url, parse_store_url(*config.store, fault ? "/proc/self/cwd" : here.string()));
  }
  OpenedStore opened;
  opened.meter = std::make_unique<StoreMeter>();
  std::unique_ptr<ObjectStore> backend;
  std::string place;
  if (auto* bucket = std::get_if<S3Url>(&url)) {
    backend = open_bucket_store(std::move(*bucket), config, environment, opened.bucket);
    place = place_of_bucket(opened.bucket.url->options);
  } else {
    const std::string path = std::get<DirectoryUrl>(url).path;
    opened.local_path = resolved(path);
    THAW_ASSIGN(backend, open_disk_store(path));
    place = place_of_path(path);
  }
  opened.store_name = backend->describe();
  opened.store = retrying(metered(std::move(backend), *opened.meter), config.retry);
  TierStack stack(config, environment, process, std::move(place));
  for (auto tier = config.tiers.rbegin(); tier != config.tiers.rend(); ++tier) {
    THAW_CHECK(stack.put_before(*tier, opened.store_name, opened));
  }
  return opened;
}

}  // namespace thaw
