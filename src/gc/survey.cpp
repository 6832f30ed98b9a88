#include "gc/survey.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "base/task_group.h"
#include "format/limits.h"
#include "object/listing.h"
#include "snapshot/catalog.h"

namespace thaw::gc {
namespace {

constexpr std::string_view kLeases = "leases/";
constexpr std::string_view kKeys = "keys/";
constexpr std::string_view kPacks = "packs/";
constexpr std::string_view kManifests = "manifests/";
constexpr std::string_view kUses = "used/";
constexpr std::string_view kProbes = "probe/";
constexpr std::string_view kCondemned = "condemned/";
constexpr std::string_view kSweeping = "sweeping/";

constexpr size_t kExamples = 10;
constexpr std::chrono::seconds kFarewell{5};
// What a lease says of itself beyond this is not believed.
constexpr std::chrono::seconds kLongestLease{24 * 3600};

// "packs/ab/ab…": the id, where the name is one that thaw gives.
std::optional<RandomId> pack_id(std::string_view name) {
  name.remove_prefix(kPacks.size());
  if (name.size() < 3 || name[2] != '/') return std::nullopt;
  const auto id = RandomId::parse(name.substr(3));
  if (!id || !id->hex().starts_with(name.substr(0, 2))) return std::nullopt;
  return id;
}

class Surveyor {
 public:
  Surveyor(const Context& context, ObjectStore& store, const SurveyOptions& options)
      : context_(context), store_(store), options_(options) {
    survey_.now = options.now;
  }

  Result<Survey> run(Progress* progress) {
    const auto looked = look(progress);
    if (looked) return std::move(survey_);
    give_up_claims();
    return looked.error();
  }

 private:
  Result<> look(Progress* progress) {
    const auto step = [progress](const char* name) {
      if (progress != nullptr) progress->begin(name, 0, 0);
    };
    step("looking at leases");
    THAW_CHECK(look_at_records());
    THAW_CHECK(look_at_leases());
    step("listing keys");
    THAW_CHECK(list_keys());
    if (progress != nullptr) progress->begin("reading entries", 0, entries_.size());
    THAW_CHECK(read_entries(progress));
    step("listing packs");
    THAW_CHECK(list_objects());
    THAW_CHECK(list_uses());
    THAW_CHECK(list_unknown());
    return {};
  }

  struct EntryToRead {
    size_t key;
    size_t generation;  // index
  };

  void note_unknown(const Listed& listed) {
    ++survey_.unknown.objects;
    survey_.unknown.bytes += listed.info.size_bytes;
    if (survey_.unknown.examples.size() < kExamples)
      survey_.unknown.examples.push_back(listed.key.text());
  }

  Result<> look_at_records();
  Result<bool> claim(const CondemnedRecord& record);
  void give_up_claims();
  Result<> look_at_leases();
  Result<std::optional<LeaseFound>> read_lease(const Listed& listed);
  Result<> list_keys();
  KeyFound& found_key(const Key& key);
  Result<> read_entries(Progress* progress);
  Result<> read_entry(const Context& context, const Key& key, GenerationFound& found);
  Result<> list_objects();
  Result<> list_uses();
  Result<> list_unknown();

  const Context& context_;
  ObjectStore& store_;
  const SurveyOptions& options_;
  Survey survey_;
  std::vector<EntryToRead> entries_;
  std::map<Key, size_t> key_numbers_;
};

// --- condemned records

// Those that are ripe and nobody's are claimed, before leases and keys are looked at: from here on
// until this run takes them away they are there, and keep savers from what they name.
Result<> Surveyor::look_at_records() {
  std::map<RandomId, ObjectFound> claims;
  THAW_CHECK(list_all(context_, store_, kSweeping, [&](const Listed& each) {
    const auto id = RandomId::parse(std::string_view(each.key.text()).substr(kSweeping.size()));
    if (!id) return note_unknown(each);
    claims.emplace(*id, ObjectFound{each.key, *id, each.info.size_bytes, each.info.modified});
  }));
  THAW_ASSIGN(auto records, read_condemned(context_, store_));
  for (CondemnedRecord& record : records) {
    std::optional<Timestamp> claimed_then;
    bool ours = false;
    const auto claimed = claims.find(record.id);
    const double age_s = static_cast<double>(survey_.now.ns - record.put.ns) / 1e9;
    const bool ripe = age_s >= static_cast<double>(options_.grace.count());
    if (claimed != claims.end()) {
      claimed_then = claimed->second.put;
      claims.erase(claimed);
    } else if (ripe || !record.content) {
      THAW_ASSIGN(ours, claim(record));
      if (!ours) continue;
    }
    survey_.condemned.push_back({std::move(record), ours, claimed_then});
  }
  for (auto& [id, claim] : claims) survey_.stray_claims.push_back(std::move(claim));
  return {};
}

// False when another run has it, or had it and took the record away.
Result<bool> Surveyor::claim(const CondemnedRecord& record) {
  if (options_.access == Access::look) return true;
  const ObjectKey object = sweeping_object(record.id);
  THAW_ASSIGN(const PutOutcome outcome, store_.put(context_, object, Buffer(), PutMode::create));
  if (outcome == PutOutcome::exists) return false;
  THAW_ASSIGN(const auto there, store_.find(context_, record.object));
  if (!there) THAW_CHECK(store_.remove(context_, {&object, 1}));
  return there.has_value();
}

// A run that ends, and does not just stand still, leaves the records to others.
void Surveyor::give_up_claims() {
  std::vector<ObjectKey> claims;
  for (const RecordFound& each : survey_.condemned) {
    if (each.ours) claims.push_back(sweeping_object(each.record.id));
  }
  if (claims.empty() || options_.access == Access::look) return;
  const Context root;  // also when this run's own time is over
  const Context farewell = root.within(kFarewell);
  const auto removed = store_.remove(farewell, claims);
  if (!removed) log::warn("claims stay for some hours: {}", removed.error().text());
}

// --- leases

// In double: times and lengths from outside may be any number.
double seconds_between(Timestamp then, Timestamp now) {
  return (static_cast<double>(now.ns) - static_cast<double>(then.ns)) / 1e9;
}

bool is_out_of_time(const LeaseFound& lease, Timestamp now) {
  const double age_s = seconds_between(lease.put, now);
  const auto ttl_s = std::min(static_cast<double>(lease.content.ttl_s),
                              static_cast<double>(kLongestLease.count()));
  return age_s > ttl_s + static_cast<double>(kSkew.count());
}

Result<> Surveyor::look_at_leases() {
  std::vector<Listed> listed;
  THAW_CHECK(list_all(context_, store_, kLeases, [&](const Listed& each) {
    if (RandomId::parse(std::string_view(each.key.text()).substr(kLeases.size())))
      listed.push_back(each);
    else
      note_unknown(each);
  }));
  std::vector<LeaseFound> found;
  std::set<RandomId> holders;  // that have renewed in time
  for (const Listed& each : listed) {
    THAW_ASSIGN(auto lease, read_lease(each));
    if (!lease) continue;
    if (!is_out_of_time(*lease, survey_.now)) holders.insert(lease->content.nonce);
    found.push_back(*std::move(lease));
  }
  // All of a holder's, or none: it looks for the first one alone, and that one was listed with any
  // other.
  for (LeaseFound& lease : found) {
    const bool held = holders.count(lease.content.nonce) != 0;
    (held ? survey_.leases : survey_.expired_leases).push_back(std::move(lease));
  }
  if (options_.access == Access::collect && !survey_.expired_leases.empty()) {
    std::vector<ObjectKey> objects;
    for (const LeaseFound& lease : survey_.expired_leases) objects.push_back(lease.object);
    THAW_CHECK(store_.remove(context_, objects).within("remove expired leases"));
  }
  for (const LeaseFound& lease : survey_.leases) {
    survey_.needed_by_leases.insert(lease.content.packs.begin(), lease.content.packs.end());
    for (const RandomId& manifest : lease.content.manifests) {
      if (!survey_.needed_by_leases.insert(manifest).second) continue;
      auto packs = load_packs(context_, store_, manifest, std::nullopt);
      // A base that is gone protects nothing; its saver finds that out too.
      if (!packs && packs.error().code() == Code::not_found) continue;
      if (!packs) return std::move(packs).error().within("lease " + lease.content.holder);
      for (const PackRef& pack : *packs) survey_.needed_by_leases.insert(pack.id);
    }
  }
  return {};
}

// Empty when it is gone meanwhile.
Result<std::optional<LeaseFound>> Surveyor::read_lease(const Listed& listed) {
  const ByteRange range = ByteRange::of(0, limits::kSealedRecordBytes + 1);
  auto fetched = store_.get(context_, listed.key, range, Freshness::origin);
  if (!fetched && fetched.error().code() == Code::not_found) return std::optional<LeaseFound>();
  if (!fetched) return std::move(fetched).error();
  auto lease = decode_lease(fetched->bytes);
  if (!lease && seconds_between(listed.info.modified, survey_.now) >
                    static_cast<double>(kLongestLease.count())) {
    lease = Lease();  // nobody holds one for so long
    lease->nonce = RandomId::fresh();
  }
  if (!lease) {
    return std::move(lease).error().within(
        fmt::format("object {}: what it protects is not known; if its holder is dead, remove it",
                    listed.key.text()));
  }
  const Timestamp put = fetched->info.modified;
  const Timestamp since = lease->since_ns == 0 ? put : Timestamp{lease->since_ns};
  return std::optional(LeaseFound{listed.key, put, std::min(put, since), *std::move(lease)});
}

// --- keys

KeyFound& Surveyor::found_key(const Key& key) {
  const auto [place, fresh] = key_numbers_.emplace(key, survey_.keys.size());
  if (fresh) survey_.keys.push_back({key, {}, {}, {}});
  return survey_.keys[place->second];
}

Result<> Surveyor::list_keys() {
  std::vector<std::pair<EntryName, Listed>> refusals;
  THAW_CHECK(list_all(context_, store_, kKeys, [&](const Listed& listed) {
    if (const auto entry = parse_entry_name(listed.key.text())) {
      KeyFound& key = found_key(entry->key);
      GenerationFound& generation = key.generations.emplace_back();
      generation.generation = entry->generation;
      generation.put = listed.info.modified;
      entries_.push_back({key_numbers_.at(entry->key), key.generations.size() - 1});
    } else if (const auto refusal = parse_refusal_name(listed.key.text())) {
      refusals.emplace_back(*refusal, listed);
    } else {
      note_unknown(listed);
    }
  }));
  for (const auto& [name, listed] : refusals) {
    const auto key = key_numbers_.find(name.key);
    if (key == key_numbers_.end()) continue;  // of a key that was never published
    KeyFound& found = survey_.keys[key->second];
    if (!found.generations.empty() && found.generations.front().generation > name.generation)
      found.void_refusals.push_back(listed.key);
  }
  return {};
}

Result<> Surveyor::read_entries(Progress* progress) {
  return parallel_for(
      context_, options_.threads, entries_.size(),
      [&](const Context& inner, unsigned, size_t i) -> Result<> {
        KeyFound& key = survey_.keys[entries_[i].key];
        THAW_CHECK(read_entry(inner, key.key, key.generations[entries_[i].generation]));
        if (progress != nullptr) ++progress->files_done;
        return {};
      });
}

Result<> Surveyor::read_entry(const Context& context, const Key& key, GenerationFound& found) {
  auto entry = find_generation(context, store_, key, found.generation);
  if (!entry) {
    return std::move(entry).error().within(
        fmt::format("{}@{} cannot be read, so what it needs is not known; `thaw rm {}@{} --yes` "
                    "takes it out of the way",
                    key.text(), found.generation, key.text(), found.generation));
  }
  found.live = entry->has_value();
  if (!found.live) return {};
  found.labels = std::move((*entry)->labels);
  if (const auto* at = std::get_if<ManifestRef>(&(*entry)->manifest)) found.manifest = *at;
  found.packs = std::move((*entry)->packs);
  if (!found.packs.empty()) return {};
  auto packs = load_packs(context, store_, **entry);
  if (!packs) {
    return std::move(packs).error().within(
        fmt::format("what {}@{} needs is not known; `thaw rm {}@{} --yes` takes it out of the way",
                    key.text(), found.generation, key.text(), found.generation));
  }
  for (const PackRef& pack : *packs) found.packs.push_back({pack.id, pack.live_stored_bytes});
  return {};
}

// --- the rest

Result<> Surveyor::list_objects() {
  THAW_CHECK(list_all(context_, store_, kPacks, [&](const Listed& listed) {
    const auto id = pack_id(listed.key.text());
    if (!id) return note_unknown(listed);
    survey_.packs.push_back({listed.key, *id, listed.info.size_bytes, listed.info.modified});
  }));
  THAW_CHECK(list_all(context_, store_, kManifests, [&](const Listed& listed) {
    const auto id = RandomId::parse(std::string_view(listed.key.text()).substr(kManifests.size()));
    if (!id) return note_unknown(listed);
    survey_.manifests.push_back({listed.key, *id, listed.info.size_bytes, listed.info.modified});
  }));
  return list_all(context_, store_, kProbes, [&](const Listed& listed) {
    survey_.probes.push_back({listed.key, {}, listed.info.size_bytes, listed.info.modified});
  });
}

Result<> Surveyor::list_uses() {
  return list_all(context_, store_, kUses, [&](const Listed& listed) {
    const auto key = parse_last_use_name(listed.key.text());
    if (!key) return note_unknown(listed);
    const auto found = key_numbers_.find(*key);
    if (found != key_numbers_.end())
      survey_.keys[found->second].last_use = listed.info.modified;
    else
      survey_.stray_uses.push_back(listed.key);
  });
}

// What lies beside the folders that were listed: a LIST between each two of them.
Result<> Surveyor::list_unknown() {
  constexpr std::array kFolders{kCondemned, kKeys,   kLeases,   kManifests,
                                kPacks,     kProbes, kSweeping, kUses};
  ListOptions options;
  while (true) {
    THAW_ASSIGN(const ListPage page, store_.list(context_, "", options));
    bool skipped = false;
    for (const Listed& listed : page.objects) {
      const std::string& name = listed.key.text();
      const auto* folder = std::find_if(kFolders.begin(), kFolders.end(),
                                        [&](const auto& each) { return name.starts_with(each); });
      if (folder != kFolders.end()) {
        // '0' follows '/': behind everything in that folder.
        options.after = std::string(folder->substr(0, folder->size() - 1)) + "0";
        skipped = true;
        break;
      }
      if (name != kStoreMarkerName) note_unknown(listed);
      options.after = name;
    }
    if (page.objects.empty() || (!skipped && !page.more)) return {};
  }
}

}  // namespace

Result<Survey> survey(const Context& context, ObjectStore& store, const SurveyOptions& options,
                      Progress* progress) {
  return Surveyor(context, store, options).run(progress).within("look at " + store.describe());
}

}  // namespace thaw::gc
