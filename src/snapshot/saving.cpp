#include "snapshot/saving.h"

#include <fmt/format.h>

#include "base/log.h"
#include "format/limits.h"
#include "snapshot/catalog.h"
#include "snapshot/condemned.h"

namespace thaw {
namespace {

// For what has to be done after the save's own time, too.
constexpr std::chrono::seconds kRetractTime{20};

Error lost_lease() {
  return {Code::busy, "the save took longer than its lease, and was retracted: save again"};
}

}  // namespace

Result<Saving> Saving::begin(const Context& context, ObjectStore& store, Soundness& soundness,
                             std::vector<Entry> bases, const WallClock& clock) {
  LeaseNeeds needs;
  std::vector<Entry> usable;
  for (Entry& entry : bases) {
    const auto added = needs.add(entry);
    if (added)
      usable.push_back(std::move(entry));
    else
      soundness.conclude(entry, added.error().text());
  }
  THAW_ASSIGN(HeldLease lease, HeldLease::take(context, store, std::move(needs), clock));
  return Saving(store, soundness, std::move(usable), std::move(lease));
}

Result<std::vector<Manifest>> Saving::load_bases(const Context& context) {
  std::vector<Manifest> manifests;
  if (bases_.empty()) return manifests;
  THAW_ASSIGN(const auto records, read_condemned(context, store_).within("look for bases"));
  for (const CondemnedRecord& record : records) {
    // Nobody knows what it names: nothing is relied on.
    if (!record.content) return manifests;
    soundness_.condemn(*record.content);
  }
  // What was found before the lease may have gone since.
  soundness_.look_anew();
  for (const Entry& entry : bases_) {
    THAW_ASSIGN(const bool usable, may_use(context, entry));
    if (!usable) continue;
    auto manifest = load_manifest(context, store_, entry);
    std::optional<std::string> fault;
    if (manifest) {
      THAW_ASSIGN(fault, soundness_.fault_of(context, manifest->layout.packs));
    } else if (manifest.error().code() == Code::corrupt) {
      fault = manifest.error().text();
    } else {
      return std::move(manifest).error();
    }
    if (soundness_.conclude(entry, fault)) manifests.push_back(*std::move(manifest));
  }
  return manifests;
}

// Whether a base is worth loading: it is still there, and nothing is known against it.
Result<bool> Saving::may_use(const Context& context, const Entry& entry) {
  if (const auto known = soundness_.concluded(entry); known && !*known) return false;
  THAW_ASSIGN(const Key key, Key::parse(entry.key));
  const auto again = find_generation(context, store_, key, entry.generation);
  if (!again && again.error().code() == Code::corrupt) {
    return soundness_.conclude(entry, again.error().text());
  }
  if (!again) return again.error();
  if (!*again || (*again)->nonce != entry.nonce) {
    soundness_.disregard(entry);  // removed meanwhile: nothing to warn about
    return false;
  }
  if (const auto fault = soundness_.manifest_fault(entry)) {
    return soundness_.conclude(entry, fault);
  }
  return true;
}

Result<> Saving::put_manifest(const Context& context, Manifest& manifest, unsigned threads,
                              Entry& entry) {
  THAW_ASSIGN(ByteVector bytes, encode_manifest(context, manifest, threads));
  entry.stored_bytes = 0;
  entry.packs.clear();
  for (const PackRef& pack : manifest.layout.packs) {
    entry.stored_bytes += pack.live_stored_bytes;
    entry.packs.push_back({pack.id, pack.live_stored_bytes});
  }
  if (entry.packs.size() > limits::kEntryPacks) entry.packs.clear();
  Buffer object(std::move(bytes));
  if (object.size() <= limits::kInlineManifestBytes) {
    entry.packs.clear();
    entry.manifest = std::move(object);
    return {};
  }
  const ManifestRef ref{RandomId::fresh(), object.size(), sha256(object.view())};
  THAW_CHECK(store_.put(context, manifest_object(ref.id), object, PutMode::create));
  entry.manifest = ref;
  return {};
}

Result<std::vector<uint64_t>> Saving::publish(const Context& context, Entry entry,
                                              std::span<const Key> keys) {
  lease_.renew_in_time(context, store_);
  if (lease_.is_old()) {
    // An entry that would be retracted is better never seen.
    THAW_ASSIGN(const bool held, lease_.still_held(context, store_));
    if (!held) return lost_lease();
  }
  std::vector<uint64_t> generations;
  std::optional<Error> fault;
  for (const Key& key : keys) {
    entry.key = key.text();
    const auto generation = thaw::publish(context, store_, entry).within("publish " + entry.key);
    if (!generation) {
      fault = generation.error();
      break;
    }
    generations.push_back(*generation);
  }
  auto held = lease_.still_held(context, store_);
  // Where that cannot be found out, a young lease is certainly there.
  if (!held && !lease_.is_old()) return fault.value_or(held.error());
  // Also when the save's own time is over, as it may well be after a pause: nobody else takes back
  // what may lack something.
  const Context root;  // outlives its child
  const Context farewell = root.within(kRetractTime);
  if (!held) held = lease_.still_held(farewell, store_);
  if (!held || !*held) {
    THAW_CHECK(retract(farewell, entry, keys, generations).within("retract"));
    return lost_lease();
  }
  if (fault) return *fault;
  return generations;
}

// `entry` as it was put, or tried to be put, last.
Result<> Saving::retract(const Context& context, const Entry& entry, std::span<const Key> keys,
                         const std::vector<uint64_t>& generations) {
  for (size_t i = 0; i < generations.size(); ++i) {
    THAW_CHECK(retire(context, store_, keys[i], generations[i]));
  }
  if (generations.size() == keys.size()) return {};
  // The answer may be all that was lost of the put that failed.
  const Key& unsure = keys[generations.size()];
  THAW_ASSIGN(const auto newest, find_newest(context, store_, unsure));
  if (newest && newest->nonce == entry.nonce)
    THAW_CHECK(retire(context, store_, unsure, newest->generation));
  return {};
}

}  // namespace thaw
