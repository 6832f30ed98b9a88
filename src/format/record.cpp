#include "format/record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "format/limits.h"
#include "format/utf8.h"

namespace thaw {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kEntryMagic = "thawen01";
constexpr std::string_view kLeaseMagic = "thawle01";
constexpr std::string_view kRefusalMagic = "thawre01";
constexpr std::string_view kCondemnedMagic = "thawco01";
constexpr size_t kHeadBytes = 16;
constexpr size_t kSumBytes = 32;
constexpr int kFormat = 1;

Result<Buffer> seal(std::string_view magic, const Json& json, Bytes attachment = {}) {
  // Host names come from outside: what is no UTF-8 is replaced, not thrown.
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  ByteVector object;
  object.append(as_bytes(magic));
  append_le(object, static_cast<uint32_t>(text.size()));
  append_le(object, static_cast<uint32_t>(attachment.size()));
  object.append(as_bytes(text));
  object.append(attachment);
  object.append(sha256(object.view()).bytes);
  if (object.size() > limits::kSealedRecordBytes ||
      attachment.size() > limits::kInlineManifestBytes) {
    return Error(Code::exhausted, "a record larger than its cap of 1 MiB");
  }
  return Buffer(std::move(object));
}

struct Unsealed {
  Json json;
  Buffer attachment;
};

Result<Unsealed> unseal(std::string_view magic, const Buffer& object) {
  const Bytes bytes = object.view();
  if (bytes.size() < kHeadBytes + kSumBytes || bytes.size() > limits::kSealedRecordBytes) {
    return Error(Code::corrupt, "a record of an impossible length");
  }
  const Digest sum = sha256(bytes.first(bytes.size() - kSumBytes));
  if (!std::equal(sum.bytes.begin(), sum.bytes.end(), bytes.end() - kSumBytes)) {
    return Error(Code::corrupt, "a record does not match its checksum");
  }
  if (as_text(bytes.first(8)) != magic) return Error(Code::corrupt, "a record of another kind");
  const auto json_bytes = load_le<uint32_t>(bytes.data() + 8);
  const auto attached = load_le<uint32_t>(bytes.data() + 12);
  if (uint64_t{json_bytes} + attached != bytes.size() - kHeadBytes - kSumBytes ||
      attached > limits::kInlineManifestBytes) {
    return Error(Code::corrupt, "a record's lengths do not fit together");
  }
  Unsealed record;
  record.json = Json::parse(as_text(bytes.subspan(kHeadBytes, json_bytes)), nullptr, false);
  if (!record.json.is_object()) return Error(Code::corrupt, "a record without a JSON object");
  record.attachment = object.slice(kHeadBytes + json_bytes, attached);
  return record;
}

Result<> without_attachment(const Unsealed& record) {
  if (record.attachment.empty()) return {};
  return Error(Code::corrupt, "a record with an attachment that its kind has not");
}

// Reads the members of a JSON object; the first that is missing or of another type is remembered,
// so that a decoder asks for all of them and looks once.
class Members {
 public:
  explicit Members(const Json& json) : json_(json) {}

  std::string text(const char* name) {
    const Json* member = find(name);
    if (member == nullptr || !member->is_string()) return fail(name), std::string();
    return member->get<std::string>();
  }
  uint64_t number(const char* name) {
    const Json* member = find(name);
    if (member == nullptr || !member->is_number_unsigned()) return fail(name), uint64_t{0};
    return member->get<uint64_t>();
  }
  int64_t instant(const char* name) {
    const Json* member = find(name);
    if (member == nullptr || !member->is_number_integer() ||
        (member->is_number_unsigned() && member->get<uint64_t>() > INT64_MAX)) {
      return fail(name), int64_t{0};
    }
    return member->get<int64_t>();
  }
  std::string key(const char* name) {
    std::string key = text(name);
    if (!Key::parse(key)) fail(name);
    return key;
  }
  uint64_t generation(const char* name) {
    const uint64_t generation = number(name);
    if (generation == 0) fail(name);
    return generation;
  }
  Digest digest(const char* name) {
    const auto digest = Digest::parse(text(name));
    if (!digest) fail(name);
    return digest.value_or(Digest{});
  }
  RandomId id(const char* name) {
    const auto id = RandomId::parse(text(name));
    if (!id) fail(name);
    return id.value_or(RandomId{});
  }
  std::vector<RandomId> ids(const char* name) {
    std::vector<RandomId> ids;
    const Json* member = find(name);
    if (member == nullptr || !member->is_array()) return fail(name), ids;
    ids.reserve(member->size());
    for (const Json& each : *member) {
      const auto id =
          each.is_string() ? RandomId::parse(each.get_ref<const std::string&>()) : std::nullopt;
      if (!id) return fail(name), ids;
      ids.push_back(*id);
    }
    return ids;
  }
  const Json* find(const char* name) const {
    const auto found = json_.find(name);
    return found == json_.end() ? nullptr : &*found;
  }
  void fail(const char* name) {
    if (fault_.empty()) fault_ = name;
  }
  Result<> done() const {
    if (fault_.empty()) return {};
    return Error(Code::corrupt, "a record whose member \"" + fault_ + "\" is missing or malformed");
  }

 private:
  const Json& json_;
  std::string fault_;
};

Json to_json(const std::vector<RandomId>& ids) {
  Json json = Json::array();
  for (const RandomId& id : ids) json.push_back(id.hex());
  return json;
}

Json to_json(const Entry& entry) {
  Json json = {{"type", "entry"},
               {"key", entry.key},
               {"generation", entry.generation},
               {"snapshot", entry.ids.snapshot.hex()},
               {"content", entry.ids.content.hex()},
               {"nonce", entry.nonce.hex()},
               {"created_ns", entry.created_ns},
               {"files", entry.totals.files},
               {"dirs", entry.totals.dirs},
               {"others", entry.totals.others},
               {"bytes", entry.totals.bytes},
               {"stored_bytes", entry.stored_bytes},
               {"labels", entry.labels},
               {"host", entry.host},
               {"tool", entry.tool}};
  if (const auto* ref = std::get_if<ManifestRef>(&entry.manifest)) {
    json["manifest"] = {
        {"id", ref->id.hex()}, {"size", ref->size_bytes}, {"sha256", ref->sha256.hex()}};
  }
  if (!entry.packs.empty()) {
    Json& packs = json["packs"] = Json::array();
    for (const PackShare& pack : entry.packs)
      packs.push_back(Json::array({pack.id.hex(), pack.used_bytes}));
  }
  return json;
}

Result<std::vector<PackShare>> shares_from(const Json& json) {
  const Error malformed(Code::corrupt, "an entry whose packs are malformed");
  std::vector<PackShare> shares;
  if (!json.is_array() || json.empty() || json.size() > limits::kEntryPacks) return malformed;
  for (const Json& each : json) {
    if (!each.is_array() || each.size() != 2 || !each[0].is_string() ||
        !each[1].is_number_unsigned()) {
      return malformed;
    }
    const auto id = RandomId::parse(each[0].get_ref<const std::string&>());
    if (!id) return malformed;
    shares.push_back({*id, each[1].get<uint64_t>()});
  }
  return shares;
}

Result<Entry> entry_from(const Unsealed& record) {
  Members members(record.json);
  Entry entry;
  entry.key = members.key("key");
  entry.generation = members.generation("generation");
  entry.ids = {members.digest("snapshot"), members.digest("content")};
  entry.nonce = members.id("nonce");
  entry.created_ns = members.instant("created_ns");
  entry.totals = {members.number("files"), members.number("dirs"), members.number("others"),
                  members.number("bytes")};
  entry.stored_bytes = members.number("stored_bytes");
  entry.host = members.text("host");
  entry.tool = members.text("tool");
  const Json* labels = members.find("labels");
  if (labels == nullptr || !labels->is_object()) {
    members.fail("labels");
  } else {
    for (const auto& [name, value] : labels->items()) {
      if (!value.is_string())
        members.fail("labels");
      else
        entry.labels[name] = value.get<std::string>();
    }
  }
  THAW_CHECK(members.done());
  if (!check_labels(entry.labels))
    return Error(Code::corrupt, "an entry whose labels break the caps");

  const Json* manifest = members.find("manifest");
  if (manifest == nullptr) {
    if (record.attachment.empty()) return Error(Code::corrupt, "an entry without a manifest");
    if (members.find("packs") != nullptr)
      return Error(Code::corrupt, "an entry that names its packs twice");
    entry.manifest = record.attachment;
    return entry;
  }
  if (!record.attachment.empty()) return Error(Code::corrupt, "an entry with two manifests");
  if (!manifest->is_object()) return Error(Code::corrupt, "an entry whose manifest is malformed");
  Members ref(*manifest);
  entry.manifest = ManifestRef{ref.id("id"), ref.number("size"), ref.digest("sha256")};
  THAW_CHECK(ref.done());
  if (std::get<ManifestRef>(entry.manifest).size_bytes > limits::kManifestStoredBytes) {
    return Error(Code::corrupt, "an entry whose manifest is over its cap");
  }
  if (const Json* packs = members.find("packs")) {
    THAW_ASSIGN(entry.packs, shares_from(*packs));
  }
  return entry;
}

// Hands out what was sealed only if a reader takes it.
template <class Record>
Result<Buffer> readable(Result<Buffer> sealed, Result<Record> (*decode)(const Buffer&)) {
  if (!sealed) return sealed;
  if (const auto read = decode(*sealed); !read) {
    return Error(Code::internal, "no reader would take this record: " + read.error().message());
  }
  return sealed;
}

}  // namespace

Result<> check_labels(const Labels& labels) {
  if (labels.size() > limits::kLabels) return Error(Code::invalid, "more than 64 labels");
  for (const auto& [name, value] : labels) {
    if (name.empty()) return Error(Code::invalid, "a label without a name");
    if (!is_utf8(name) || !is_utf8(value)) {
      return Error(Code::invalid, "a label is not valid UTF-8");
    }
    if (name.size() > limits::kLabelNameBytes || value.size() > limits::kLabelValueBytes) {
      return Error(Code::invalid,
                   "label \"" + name + "\" is too long (128 bytes of name, 1,024 of value)");
    }
  }
  return {};
}

Result<Buffer> encode_generation(const Generation& generation) {
  if (const auto* tombstone = std::get_if<Tombstone>(&generation)) {
    return readable(seal(kEntryMagic, {{"type", "tombstone"},
                                       {"key", tombstone->key},
                                       {"generation", tombstone->generation},
                                       {"created_ns", tombstone->created_ns}}),
                    decode_generation);
  }
  const auto& entry = std::get<Entry>(generation);
  THAW_CHECK(check_labels(entry.labels));
  const auto* inlined = std::get_if<Buffer>(&entry.manifest);
  return readable(seal(kEntryMagic, to_json(entry), inlined == nullptr ? Bytes() : inlined->view()),
                  decode_generation);
}

Result<Generation> decode_generation(const Buffer& object) {
  THAW_ASSIGN(const Unsealed record, unseal(kEntryMagic, object));
  Members members(record.json);
  const std::string type = members.text("type");
  if (type == "tombstone") {
    THAW_CHECK(without_attachment(record));
    Tombstone tombstone{members.key("key"), members.generation("generation"),
                        members.instant("created_ns")};
    THAW_CHECK(members.done());
    return Generation(std::move(tombstone));
  }
  if (type != "entry") return Error(Code::corrupt, "a record that is neither entry nor tombstone");
  THAW_ASSIGN(Entry entry, entry_from(record));
  return Generation(std::move(entry));
}

Result<Buffer> encode_lease(const Lease& lease) {
  return readable(seal(kLeaseMagic, {{"holder", lease.holder},
                                     {"nonce", lease.nonce.hex()},
                                     {"created_ns", lease.created_ns},
                                     {"since_ns", lease.since_ns},
                                     {"ttl_s", lease.ttl_s},
                                     {"manifests", to_json(lease.manifests)},
                                     {"packs", to_json(lease.packs)}}),
                  decode_lease);
}

Result<Lease> decode_lease(const Buffer& object) {
  THAW_ASSIGN(const Unsealed record, unseal(kLeaseMagic, object));
  THAW_CHECK(without_attachment(record));
  Members members(record.json);
  Lease lease{members.text("holder"),      members.id("nonce"),     members.instant("created_ns"),
              members.instant("since_ns"), members.number("ttl_s"), members.ids("manifests"),
              members.ids("packs")};
  THAW_CHECK(members.done());
  return lease;
}

Result<Buffer> encode_condemned(const Condemned& condemned) {
  return readable(seal(kCondemnedMagic, {{"holder", condemned.holder},
                                         {"created_ns", condemned.created_ns},
                                         {"packs", to_json(condemned.packs)},
                                         {"manifests", to_json(condemned.manifests)}}),
                  decode_condemned);
}

Result<Condemned> decode_condemned(const Buffer& object) {
  THAW_ASSIGN(const Unsealed record, unseal(kCondemnedMagic, object));
  THAW_CHECK(without_attachment(record));
  Members members(record.json);
  Condemned condemned{members.text("holder"), members.instant("created_ns"), members.ids("packs"),
                      members.ids("manifests")};
  THAW_CHECK(members.done());
  return condemned;
}

Result<Buffer> encode_refusal(const Refusal& refusal) {
  return readable(seal(kRefusalMagic, {{"key", refusal.key},
                                       {"newest", refusal.newest},
                                       {"reason", refusal.reason},
                                       {"bytes", refusal.bytes},
                                       {"created_ns", refusal.created_ns}}),
                  decode_refusal);
}

Result<Refusal> decode_refusal(const Buffer& object) {
  THAW_ASSIGN(const Unsealed record, unseal(kRefusalMagic, object));
  THAW_CHECK(without_attachment(record));
  Members members(record.json);
  Refusal refusal{members.key("key"), members.number("newest"), members.text("reason"),
                  members.number("bytes"), members.instant("created_ns")};
  THAW_CHECK(members.done());
  return refusal;
}

Buffer encode_store_marker() {
  return Buffer(fmt::format("{{\"kind\":\"thaw-store\",\"format\":{}}}\n", kFormat));
}

Result<> check_store_marker(Bytes object) {
  if (object.size() > limits::kStoreMarkerBytes)
    return Error(Code::corrupt, "the store marker is too long");
  const Json json = Json::parse(as_text(object), nullptr, false);
  if (!json.is_object() || !json.contains("kind") || json["kind"] != "thaw-store" ||
      !json.contains("format") || !json["format"].is_number_unsigned()) {
    return Error(Code::corrupt, "thaw.json is no store marker");
  }
  const auto format = json["format"].get<uint64_t>();
  if (format == kFormat) return {};
  return Error(
      Code::invalid,
      fmt::format(
          "the store has format {}, this thaw reads format {}: use a newer thaw, or another store",
          format, kFormat));
}

}  // namespace thaw
