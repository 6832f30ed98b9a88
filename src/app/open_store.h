// From a configured name to a store: the only place that names concrete backends and decorators.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/config.h"
#include "app/locations.h"
#include "app/open_bucket.h"
#include "app/store_url.h"
#include "base/context.h"
#include "base/environment.h"
#include "object/block_claims.h"
#include "object/metered.h"
#include "object/recency_index.h"
#include "object/store.h"
#include "object/tier_meter.h"

namespace thaw {

// A tier in front of the store.
struct OpenedTier {
  std::string name;  // "disk(/var/cache/thaw)"
  std::unique_ptr<TierMeter> meter;
  BucketParts bucket;
  bool has_index = false;
};

// Move-only; the store stands on the members before it, so they go together.
struct OpenedStore {
  std::unique_ptr<StoreMeter> meter;  // of the store itself, below all tiers
  BucketParts bucket;
  std::vector<OpenedTier> tiers;  // nearest first
  std::unique_ptr<ObjectStore> store;
  std::string store_name;  // of the store itself: what its blocks in tiers are named by
  // The directory that it is on this machine, absolute and without symbolic links; empty when it is
  // not a directory here. Save skips it, restore protects it.
  std::optional<std::string> local_path;
};

// A tier by itself, for who looks after it.
struct TierPlace {
  std::string name;   // "disk(/var/cache/thaw)"
  std::string where;  // for messages: "/etc/thaw/thaw.toml:3"
  uint64_t max_bytes = 0;
  std::optional<std::string> directory;  // of a disk tier
  BucketParts bucket;
  std::unique_ptr<TierMeter> meter;
  std::unique_ptr<ObjectStore> store;
  std::unique_ptr<BlockClaims> claims;  // may be null
  std::unique_ptr<RecencyIndex> index;  // may be null
};

// The tiers that the configuration names, nearest first; where one cannot be opened, why.
struct TierPlaces {
  std::vector<TierPlace> tiers;
  std::vector<std::string> faults;
};
Result<TierPlaces> open_tiers(const Config& config, const Environment& environment);

// The store that the configuration names, else the embedded one, behind its tiers. Touches nothing
// but the tiers' directories, which it looks at: a store comes to be at its first put, and
// credentials are looked for at the first request. A tier that cannot be opened is left out with a
// warning; one that is no tier, or lies in the place of another or of the store, is Code::invalid.
// `process` is the context of what goes on beside the commands, and outlives the store.
Result<OpenedStore> open_store(const Config& config, const Locations& locations,
                               const Environment& environment, const Context& process);

}  // namespace thaw
