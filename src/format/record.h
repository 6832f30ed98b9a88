// Sealed records: small objects of JSON with a checksum. See docs/format.md, "Sealed records".
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"
#include "base/result.h"
#include "format/digest.h"
#include "format/key.h"
#include "format/tree.h"

namespace thaw {

struct ManifestRef {
  RandomId id;
  uint64_t size_bytes = 0;
  Digest sha256;
};

using Labels = std::map<std::string, std::string>;

// How much of a pack a snapshot needs.
struct PackShare {
  RandomId id;
  uint64_t used_bytes = 0;  // of its frames
  bool operator==(const PackShare&) const = default;
};

// Publishes one generation of a key.
struct Entry {
  std::string key;
  uint64_t generation = 0;
  TreeIds ids;
  std::variant<ManifestRef, Buffer> manifest;  // where it is, or the manifest itself
  // What the manifest's head says, for the collector: it then reads no heads. Empty where the
  // manifest is in here, and where the packs are more than limits::kEntryPacks.
  std::vector<PackShare> packs;
  RandomId nonce;          // of the save that wrote it
  int64_t created_ns = 0;  // by the saver's clock: for people only
  TreeTotals totals;
  uint64_t stored_bytes = 0;  // all frames that the snapshot needs
  Labels labels;
  std::string host;
  std::string tool;
};

// Stands where an entry stood: the generation was removed, and its number is never used again.
struct Tombstone {
  std::string key;
  uint64_t generation = 0;
  int64_t created_ns = 0;
};

using Generation = std::variant<Entry, Tombstone>;

// Who works on what: keeps the collector from it. See docs/gc.md.
struct Lease {
  std::string holder;
  RandomId nonce;
  int64_t created_ns = 0;  // by the holder's clock: for people only
  // The store's time of the holder's first lease, where this one renews it; 0: this is the first.
  int64_t since_ns = 0;
  uint64_t ttl_s = 0;
  std::vector<RandomId> manifests;  // it needs these, with all packs that they name
  std::vector<RandomId> packs;      // and these
  bool operator==(const Lease&) const = default;
};

// What a collector found unneeded, and will look at again. Savers use none of it.
struct Condemned {
  std::string holder;
  int64_t created_ns = 0;  // by the collector's clock: for people only
  std::vector<RandomId> packs;
  std::vector<RandomId> manifests;
  bool operator==(const Condemned&) const = default;
};

struct Refusal {
  std::string key;
  uint64_t newest = 0;
  std::string reason;
  uint64_t bytes = 0;
  int64_t created_ns = 0;
};

// Encoding fails where a cap of the format is passed (exhausted; for labels invalid, see
// check_labels), or where no reader would take the record (internal).
Result<Buffer> encode_generation(const Generation& generation);
Result<Buffer> encode_lease(const Lease& lease);
Result<Buffer> encode_refusal(const Refusal& refusal);
Result<Buffer> encode_condemned(const Condemned& condemned);

// Decoding answers Code::corrupt for what is malformed, checksum first.
Result<Generation> decode_generation(const Buffer& object);
Result<Lease> decode_lease(const Buffer& object);
Result<Refusal> decode_refusal(const Buffer& object);
Result<Condemned> decode_condemned(const Buffer& object);

// Code::invalid when a label breaks a cap, has an empty name or is no UTF-8.
Result<> check_labels(const Labels& labels);

inline constexpr std::string_view kStoreMarkerName = "thaw.json";
Buffer encode_store_marker();
// Refuses other formats (invalid, with both numbers) and what is no marker (corrupt).
Result<> check_store_marker(Bytes object);

}  // namespace thaw
