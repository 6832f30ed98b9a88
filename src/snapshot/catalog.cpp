#include "snapshot/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/log.h"
#include "base/task_group.h"
#include "format/limits.h"
#include "object/listing.h"

namespace thaw {
namespace {

ObjectKey name(std::string text) {
  // Names that thaw itself makes of valid keys and ids are valid.
  return *ObjectKey::parse(std::move(text));
}

// Decodes the record under `object` and checks that it says what its name says.
Result<Generation> decode_at(const Fetched& fetched, const Key& key, uint64_t generation,
                             const ObjectKey& object) {
  auto decoded = decode_generation(fetched.bytes).within("object " + object.text());
  if (!decoded) return decoded;
  const auto matches = [&](const auto& record) {
    return record.key == key.text() && record.generation == generation;
  };
  if (!std::visit(matches, *decoded)) {
    return Error(Code::corrupt, "object " + object.text() + " belongs to another name");
  }
  return decoded;
}

// No more than shows that an object is too long to be what it should be: whatever lies there, it
// takes no more memory than that.
const ByteRange kRecordRange = ByteRange::of(0, limits::kSealedRecordBytes + 1);
const ByteRange kMarkerRange = ByteRange::of(0, limits::kStoreMarkerBytes + 1);

// The record of one generation; empty when there is none.
Result<std::optional<Generation>> read_generation_once(const Context& context, ObjectStore& store,
                                                       const Key& key, uint64_t generation) {
  const ObjectKey object = name(entry_name(key, generation));
  auto fetched = store.get(context, object, kRecordRange, Freshness::origin);
  if (!fetched) {
    if (fetched.error().code() == Code::not_found) return std::optional<Generation>();
    return std::move(fetched).error();
  }
  THAW_ASSIGN(Generation record, decode_at(*fetched, key, generation, object));
  return std::optional<Generation>(std::move(record));
}

// What is damaged may have been so on the way here: it is read once more before it counts as such.
template <class Read>
auto read_again_if_corrupt(const Read& read) -> decltype(read(Freshness::any)) {
  auto first = read(Freshness::any);
  if (first || first.error().code() != Code::corrupt) return first;
  log::info("read once more: {}", first.error().text());
  return read(Freshness::origin);
}

Result<std::optional<Generation>> read_generation(const Context& context, ObjectStore& store,
                                                  const Key& key, uint64_t generation) {
  return read_again_if_corrupt(
      [&](Freshness) { return read_generation_once(context, store, key, generation); });
}

}  // namespace

ObjectKey pack_object(const RandomId& id) {
  const std::string hex = id.hex();
  return name("packs/" + hex.substr(0, 2) + "/" + hex);
}
ObjectKey manifest_object(const RandomId& id) { return name("manifests/" + id.hex()); }
ObjectKey lease_object(const RandomId& id) { return name("leases/" + id.hex()); }

namespace {

Result<bool> check_store_once(const Context& context, ObjectStore& store) {
  auto marker =
      store.get(context, name(std::string(kStoreMarkerName)), kMarkerRange, Freshness::origin);
  if (!marker && marker.error().code() == Code::not_found) return false;
  if (!marker) return std::move(marker).within("open the store").error();
  THAW_CHECK(check_store_marker(marker->bytes.view()).within("open the store " + store.describe()));
  return true;
}

}  // namespace

Result<bool> check_store(const Context& context, ObjectStore& store) {
  return read_again_if_corrupt([&](Freshness) { return check_store_once(context, store); });
}

Result<StoreState> find_store(const Context& context, ObjectStore& store) {
  THAW_ASSIGN(const bool marked, check_store(context, store));
  if (marked) return StoreState::marked;
  ListOptions one;
  one.limit = 1;
  for (const char* prefix : {"keys/", "packs/"}) {
    THAW_ASSIGN(const ListPage page, store.list(context, prefix, one));
    if (page.objects.empty()) continue;
    log::warn("the store's marker {} is missing in {}", kStoreMarkerName, store.describe());
    return StoreState::unmarked;
  }
  return StoreState::absent;
}

Result<> prepare_store(const Context& context, ObjectStore& store) {
  THAW_ASSIGN(const bool there, check_store(context, store));
  if (there) return {};
  THAW_ASSIGN(const PutOutcome outcome, store.put(context, name(std::string(kStoreMarkerName)),
                                                  encode_store_marker(), PutMode::create));
  // Somebody else was first: then theirs counts.
  if (outcome == PutOutcome::exists) THAW_CHECK(check_store(context, store));
  return {};
}

Result<std::optional<Entry>> find_newest(const Context& context, ObjectStore& store,
                                         const Key& key) {
  ListOptions options;
  // One name is enough unless the newest generations were removed.
  options.limit = 1;
  const std::string prefix = entry_prefix(key);
  while (true) {
    THAW_ASSIGN(const ListPage page, store.list(context, prefix, options));
    for (const Listed& listed : page.objects) {
      const auto entry = parse_entry_name(listed.key.text());
      if (!entry || entry->key != key) continue;  // foreign: reported by verify, not read
      THAW_ASSIGN(auto record, read_generation(context, store, key, entry->generation));
      if (!record) continue;
      if (auto* found = std::get_if<Entry>(&*record))
        return std::optional<Entry>(std::move(*found));
    }
    if (!page.more || page.objects.empty()) return std::optional<Entry>();
    options.after = page.objects.back().key.text();
    options.limit = 100;
  }
}

Result<std::optional<Entry>> find_generation(const Context& context, ObjectStore& store,
                                             const Key& key, uint64_t generation) {
  THAW_ASSIGN(auto record, read_generation(context, store, key, generation));
  if (!record) return std::optional<Entry>();
  if (auto* found = std::get_if<Entry>(&*record)) return std::optional<Entry>(std::move(*found));
  return std::optional<Entry>();
}

Result<std::optional<Entry>> find_entry(const Context& context, ObjectStore& store,
                                        const KeyRef& ref) {
  if (ref.generation) return find_generation(context, store, ref.key, *ref.generation);
  return find_newest(context, store, ref.key);
}

namespace {

// A piece of a manifest is at least this long, and there are at most so many.
constexpr uint64_t kPieceBytes = limits::kMiB;
constexpr uint64_t kPieces = 8;

// The first `size_bytes` of an object, or fewer where it ends before. Long ones come in pieces at
// the same time: everything waits for a manifest, and one connection does not fill a link.
Result<Buffer> get_front(const Context& context, ObjectStore& store, const ObjectKey& object,
                         uint64_t size_bytes, Freshness freshness) {
  const uint64_t count = std::clamp<uint64_t>(size_bytes / kPieceBytes, 1, kPieces);
  const uint64_t piece_bytes = (size_bytes + count - 1) / count;
  std::vector<Buffer> pieces(count);
  THAW_CHECK(parallel_for(
      context, kPieces, count, [&](const Context& inner, unsigned, size_t i) -> Result<> {
        const uint64_t offset = i * piece_bytes;
        const uint64_t length = std::min(piece_bytes, size_bytes - offset);
        auto fetched = store.get(inner, object, ByteRange::of(offset, length), freshness);
        // It ends before: there is nothing of this piece.
        if (!fetched && i > 0 && fetched.error().code() == Code::invalid) return {};
        if (!fetched) return std::move(fetched).error();
        pieces[i] = std::move(fetched->bytes);
        return {};
      }));
  if (count == 1) return std::move(pieces[0]);
  ByteVector joined;
  uint64_t bytes = 0;
  for (const Buffer& piece : pieces) bytes += piece.size();
  joined.reserve(bytes);
  for (const Buffer& piece : pieces) joined.append(piece.view());
  return Buffer(std::move(joined));
}

Result<Manifest> fetch_manifest(const Context& context, ObjectStore& store, const Entry& entry,
                                Freshness freshness) {
  const auto& ref = std::get<ManifestRef>(entry.manifest);
  const ObjectKey object = manifest_object(ref.id);
  // No more than it should have: what a hostile server adds is never asked for.
  auto fetched = get_front(context, store, object, ref.size_bytes, freshness);
  if (!fetched && fetched.error().code() == Code::not_found) {
    return Error(Code::corrupt, fmt::format("object {} is missing, and {}@{} needs it",
                                            object.text(), entry.key, entry.generation));
  }
  if (!fetched) return std::move(fetched).error();
  if (fetched->size() != ref.size_bytes || sha256(fetched->view()) != ref.sha256) {
    return Error(Code::corrupt,
                 "object " + object.text() + " does not match the digest in its entry");
  }
  return decode_manifest(fetched->view()).within("object " + object.text());
}

}  // namespace

Result<Manifest> load_manifest(const Context& context, ObjectStore& store, const Entry& entry) {
  if (const auto* inlined = std::get_if<Buffer>(&entry.manifest)) {
    return decode_manifest(inlined->view())
        .within(fmt::format("manifest in the entry of {}@{}", entry.key, entry.generation));
  }
  return read_again_if_corrupt(
      [&](Freshness freshness) { return fetch_manifest(context, store, entry, freshness); });
}

// Holds the heads of manifests with 500 packs, 8 GiB: one GET.
constexpr uint64_t kHeadBytes = 16 * 1024;

Result<std::vector<PackRef>> load_packs(const Context& context, ObjectStore& store,
                                        const RandomId& manifest,
                                        std::optional<uint64_t> size_bytes) {
  const ObjectKey object = manifest_object(manifest);
  uint64_t length = std::min(kHeadBytes, size_bytes.value_or(kHeadBytes));
  while (true) {
    THAW_ASSIGN(const Fetched head,
                store.get(context, object, ByteRange::of(0, length), Freshness::origin));
    if (size_bytes && head.info.size_bytes != *size_bytes)
      return Error(Code::corrupt, object.text() + " has not its length");
    uint64_t needed_bytes = 0;
    auto packs = decode_manifest_head(head.bytes.view(), &needed_bytes).within(object.text());
    if (packs || needed_bytes <= length || length >= head.info.size_bytes) return packs;
    length = std::min(needed_bytes, head.info.size_bytes);
  }
}

Result<std::vector<PackRef>> load_packs(const Context& context, ObjectStore& store,
                                        const Entry& entry) {
  if (const auto* inlined = std::get_if<Buffer>(&entry.manifest)) {
    uint64_t needed_bytes = 0;
    return decode_manifest_head(inlined->view(), &needed_bytes);
  }
  const auto& at = std::get<ManifestRef>(entry.manifest);
  auto packs = load_packs(context, store, at.id, at.size_bytes);
  if (!packs && packs.error().code() == Code::not_found)
    return Error(Code::corrupt, manifest_object(at.id).text() + " is missing");
  return packs;
}

namespace {

// The highest number that was ever used for the key, tombstones included; 0 for a new key.
Result<uint64_t> highest_number(const Context& context, ObjectStore& store, const Key& key) {
  ListOptions options;
  options.limit = 1;
  const std::string prefix = entry_prefix(key);
  while (true) {
    THAW_ASSIGN(const ListPage page, store.list(context, prefix, options));
    for (const Listed& listed : page.objects) {
      const auto entry = parse_entry_name(listed.key.text());
      if (entry && entry->key == key) return entry->generation;
    }
    if (!page.more || page.objects.empty()) return uint64_t{0};
    options.after = page.objects.back().key.text();
  }
}

}  // namespace

Result<uint64_t> publish(const Context& context, ObjectStore& store, Entry entry) {
  THAW_ASSIGN(const Key key, Key::parse(entry.key));
  THAW_ASSIGN(uint64_t number, highest_number(context, store, key));
  // Each lost race moves one number up; so many in a row mean that the listing is stale or lies.
  constexpr int kRaces = 1000;
  for (int race = 0; race < kRaces; ++race) {
    if (number == std::numeric_limits<uint64_t>::max()) {
      return Error(Code::exhausted,
                   fmt::format("{} has a generation {}, and there is no higher number: save under "
                               "another key, or remove the object {}",
                               key.text(), number, entry_name(key, number)));
    }
    entry.generation = ++number;
    THAW_ASSIGN(const Buffer bytes, encode_generation(entry));
    const ObjectKey object = name(entry_name(key, number));
    THAW_ASSIGN(const PutOutcome outcome, store.put(context, object, bytes, PutMode::create));
    if (outcome == PutOutcome::stored) return number;
    // Taken: by another saver, or by this very put, whose answer was lost and which was sent again.
    THAW_ASSIGN(const auto there, find_generation(context, store, key, number));
    if (there && there->nonce == entry.nonce) return number;
  }
  return Error(Code::busy, fmt::format("{} other savers of {} were faster", kRaces, key.text()));
}

Result<bool> retire(const Context& context, ObjectStore& store, const Key& key,
                    uint64_t generation) {
  const ObjectKey object = name(entry_name(key, generation));
  auto record = read_generation(context, store, key, generation);
  // What cannot be read any more can still be removed.
  if (!record && record.error().code() != Code::corrupt) return std::move(record).error();
  if (record && (!*record || std::holds_alternative<Tombstone>(**record))) return false;
  THAW_ASSIGN(const Buffer bytes,
              encode_generation(Tombstone{key.text(), generation, system_clock().now().ns}));
  THAW_CHECK(store.put(context, object, bytes, PutMode::overwrite));
  return true;
}

Result<std::vector<uint64_t>> generations_of(const Context& context, ObjectStore& store,
                                             const Key& key) {
  std::vector<uint64_t> numbers;
  THAW_CHECK(list_all(context, store, entry_prefix(key), [&](const Listed& listed) {
    const auto entry = parse_entry_name(listed.key.text());
    if (entry && entry->key == key) numbers.push_back(entry->generation);
  }));
  return numbers;
}

Result<std::vector<Key>> keys_below(const Context& context, ObjectStore& store,
                                    std::string_view prefix) {
  std::vector<Key> keys;
  if (prefix.ends_with('/')) prefix.remove_suffix(1);
  const std::string below = "keys/" + std::string(prefix);
  ListOptions options;
  while (true) {
    THAW_ASSIGN(const ListPage page, store.list(context, below, options));
    for (const Listed& listed : page.objects) {
      const auto entry = parse_entry_name(listed.key.text());
      if (!entry || !prefix_covers(prefix, entry->key.text())) continue;
      if (keys.empty() || keys.back() != entry->key) keys.push_back(entry->key);
    }
    if (!page.more || page.objects.empty()) break;
    options.after = page.objects.back().key.text();
    // A key with more generations than a page: go on behind the last of them ('0' follows '/').
    if (const auto last = parse_entry_name(options.after)) {
      options.after = "keys/" + last->key.text() + "/@0";
    }
  }
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

}  // namespace thaw
