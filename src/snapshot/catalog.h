// The catalog: keys, their generations, and the manifests that these lead to.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "format/key.h"
#include "format/manifest.h"
#include "format/record.h"
#include "object/store.h"

namespace thaw {

// Refuses a store of another format. Answers false when there is no marker: nothing was ever saved.
Result<bool> check_store(const Context& context, ObjectStore& store);
enum class StoreState {
  marked,
  unmarked,  // there are snapshots or packs, and no marker: somebody removed it
  absent,    // nothing was ever saved
};
// The same, and where there is no marker two LISTs more. An unmarked store is warned about: what is
// in it says its own format.
Result<StoreState> find_store(const Context& context, ObjectStore& store);
// Creates the marker if it is missing; refuses a store of another format.
Result<> prepare_store(const Context& context, ObjectStore& store);

// The newest generation that is not removed; empty for a miss. One LIST and one GET as a rule.
Result<std::optional<Entry>> find_newest(const Context& context, ObjectStore& store,
                                         const Key& key);
// One generation; empty when it does not exist or was removed.
Result<std::optional<Entry>> find_generation(const Context& context, ObjectStore& store,
                                             const Key& key, uint64_t generation);
// The one that `ref` names, or the newest.
Result<std::optional<Entry>> find_entry(const Context& context, ObjectStore& store,
                                        const KeyRef& ref);

// The entry's manifest, verified against the entry's digest and by every rule of the format.
// A missing or corrupt object is Code::corrupt, or unavailable, and named.
Result<Manifest> load_manifest(const Context& context, ObjectStore& store, const Entry& entry);

// The packs that the entry's snapshot needs, from its manifest's head: one GET as a rule.
// Code::corrupt when that is missing or broken.
Result<std::vector<PackRef>> load_packs(const Context& context, ObjectStore& store,
                                        const Entry& entry);

// The same for a manifest whose entry is not at hand; not_found when there is none.
Result<std::vector<PackRef>> load_packs(const Context& context, ObjectStore& store,
                                        const RandomId& manifest,
                                        std::optional<uint64_t> size_bytes);

// Claims the next free generation of `entry.key` for it by create-only puts and returns its number.
// Safe against lost answers: the entry's nonce tells whose it is.
Result<uint64_t> publish(const Context& context, ObjectStore& store, Entry entry);

// Overwrites the generation's entry with a tombstone. False when there was nothing (or a
// tombstone).
Result<bool> retire(const Context& context, ObjectStore& store, const Key& key,
                    uint64_t generation);

// Every generation number of a key that has an entry or tombstone, newest first.
Result<std::vector<uint64_t>> generations_of(const Context& context, ObjectStore& store,
                                             const Key& key);
// The keys that `prefix` covers (whole segments), ascending; removed ones included.
Result<std::vector<Key>> keys_below(const Context& context, ObjectStore& store,
                                    std::string_view prefix);

ObjectKey pack_object(const RandomId& id);
ObjectKey manifest_object(const RandomId& id);
ObjectKey lease_object(const RandomId& id);

}  // namespace thaw
