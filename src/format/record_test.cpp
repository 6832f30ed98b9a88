#include "format/record.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "format/limits.h"
#include "support/random_bytes.h"
#include "support/result_check.h"

namespace thaw::test {
namespace {

using Json = nlohmann::json;

Entry sample_entry() {
  Entry entry;
  entry.key = "site/shop";
  entry.generation = 7;
  entry.ids = {sha256(as_bytes("snapshot")), sha256(as_bytes("content"))};
  ManifestRef ref;
  ref.id.bytes.fill(0xab);
  ref.size_bytes = 123'456;
  ref.sha256 = sha256(as_bytes("manifest"));
  entry.manifest = ref;
  entry.nonce.bytes.fill(0xcd);
  entry.created_ns = 1'700'000'000'123'456'789;
  entry.totals = {55'053, 6'436, 12, UINT64_MAX};
  entry.stored_bytes = 171;
  entry.labels = {{"branch", "main"}, {"ü", "\n\"\\"}, {"empty", ""}};
  entry.host = "runner-1";
  entry.tool = "thaw/0.1.0";
  return entry;
}

RandomId id_of(uint8_t byte) {
  RandomId id;
  id.bytes.fill(byte);
  return id;
}

Lease sample_lease() {
  Lease lease;
  lease.holder = "host/1234";
  lease.nonce.bytes.fill(0x12);
  lease.created_ns = -5;
  lease.ttl_s = 3600;
  lease.since_ns = 77;
  lease.manifests = {id_of(0xa1), id_of(0xa2)};
  lease.packs = {id_of(0xb1)};
  return lease;
}

Condemned sample_condemned() {
  return {"host/1234", 78, {id_of(0xc1), id_of(0xc2)}, {id_of(0xd1)}};
}

Refusal sample_refusal() { return {"site/shop", 6, "shrunken", 12, 99}; }

// A record of any content, with lengths and checksum that fit.
Buffer sealed(std::string_view magic, std::string_view json, std::string_view attachment = {}) {
  ByteVector object;
  object.append(as_bytes(magic));
  append_le(object, static_cast<uint32_t>(json.size()));
  append_le(object, static_cast<uint32_t>(attachment.size()));
  object.append(as_bytes(json));
  object.append(as_bytes(attachment));
  object.append(sha256(object.view()).bytes);
  return Buffer(std::move(object));
}

Buffer seal_entry(const Json& json, std::string_view attachment = {}) {
  return sealed("thawen01", json.dump(), attachment);
}

Json json_of(const Buffer& record) {
  const auto size = load_le<uint32_t>(record.data() + 8);
  return Json::parse(as_text(record.view().subspan(16, size)));
}

Json entry_json() { return json_of(encode_generation(sample_entry()).value()); }
Json tombstone_json() { return json_of(encode_generation(Tombstone{"k", 3, 4}).value()); }

TEST(RecordTest, EntryRoundTrip) {
  const Entry entry = sample_entry();
  const auto object = encode_generation(entry);
  ASSERT_TRUE(is_ok(object));
  const auto decoded = decode_generation(*object);
  ASSERT_TRUE(is_ok(decoded));
  const auto& back = std::get<Entry>(*decoded);
  EXPECT_EQ(back.key, entry.key);
  EXPECT_EQ(back.generation, entry.generation);
  EXPECT_EQ(back.ids, entry.ids);
  const auto& ref = std::get<ManifestRef>(back.manifest);
  EXPECT_EQ(ref.id, std::get<ManifestRef>(entry.manifest).id);
  EXPECT_EQ(ref.size_bytes, 123'456U);
  EXPECT_EQ(ref.sha256, std::get<ManifestRef>(entry.manifest).sha256);
  EXPECT_EQ(back.nonce, entry.nonce);
  EXPECT_EQ(back.created_ns, entry.created_ns);
  EXPECT_EQ(back.totals.files, entry.totals.files);
  EXPECT_EQ(back.totals.dirs, entry.totals.dirs);
  EXPECT_EQ(back.totals.others, entry.totals.others);
  EXPECT_EQ(back.totals.bytes, entry.totals.bytes);
  EXPECT_EQ(back.stored_bytes, entry.stored_bytes);
  EXPECT_EQ(back.labels, entry.labels);
  EXPECT_EQ(back.host, entry.host);
  EXPECT_EQ(back.tool, entry.tool);
}

TEST(RecordTest, EntryWithItsManifestInside) {
  Entry entry = sample_entry();
  const auto inside = random_bytes(limits::kInlineManifestBytes, 1);
  entry.manifest = Buffer::copy_of(inside);
  entry.labels.clear();
  const auto object = encode_generation(entry);
  ASSERT_TRUE(is_ok(object));
  EXPECT_FALSE(json_of(*object).contains("manifest"));
  const auto decoded = decode_generation(*object);
  ASSERT_TRUE(is_ok(decoded));
  const auto& back = std::get<Entry>(*decoded);
  EXPECT_EQ(to_hex(std::get<Buffer>(back.manifest).view()), to_hex(inside));
  EXPECT_TRUE(back.labels.empty());
}

// The packs that an entry names: some, each an id and a number, and only beside a manifest that
// lies elsewhere.
TEST(RecordTest, PacksOfAnEntry) {
  Entry entry = sample_entry();
  entry.packs = {{id_of(1), 7}, {id_of(2), UINT64_MAX}};
  const auto object = encode_generation(entry);
  ASSERT_TRUE(is_ok(object));
  const Json expected =
      Json::array({Json::array({id_of(1).hex(), 7}), Json::array({id_of(2).hex(), UINT64_MAX})});
  EXPECT_EQ(json_of(*object)["packs"], expected);
  const auto back = decode_generation(*object);
  ASSERT_TRUE(is_ok(back));
  EXPECT_EQ(std::get<Entry>(*back).packs, entry.packs);

  const Json malformed[] = {nullptr,
                            Json::array(),
                            Json::object(),
                            Json::array({1}),
                            Json::array({Json::array({id_of(1).hex()})}),
                            Json::array({Json::array({"x", 1})}),
                            Json::array({Json::array({id_of(1).hex(), -1})}),
                            Json::array({Json::array({id_of(1).hex(), "1"})}),
                            Json::array({Json::array({id_of(1).hex(), 1}), 2}),
                            Json(limits::kEntryPacks + 1, Json::array({id_of(1).hex(), 1}))};
  for (const Json& value : malformed) {
    Json json = entry_json();
    json["packs"] = value;
    EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(seal_entry(json)))) << value;
  }
  entry.packs.resize(limits::kEntryPacks + 1);
  EXPECT_TRUE(fails_with(Code::internal, encode_generation(entry)));
  Json both = entry_json();
  both.erase("manifest");
  both["packs"] = expected;
  EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(seal_entry(both, "manifest"))));
}

// The members of docs/format.md, in whatever order.
TEST(RecordTest, EntryAsDocumented) {
  const Json expected = {{"type", "entry"},
                         {"key", "site/shop"},
                         {"generation", 7},
                         {"snapshot", sha256(as_bytes("snapshot")).hex()},
                         {"content", sha256(as_bytes("content")).hex()},
                         {"manifest",
                          {{"id", "abababababababababababababababab"},
                           {"size", 123'456},
                           {"sha256", sha256(as_bytes("manifest")).hex()}}},
                         {"nonce", "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"},
                         {"created_ns", 1'700'000'000'123'456'789},
                         {"files", 55'053},
                         {"dirs", 6'436},
                         {"others", 12},
                         {"bytes", UINT64_MAX},
                         {"stored_bytes", 171},
                         {"labels", {{"branch", "main"}, {"ü", "\n\"\\"}, {"empty", ""}}},
                         {"host", "runner-1"},
                         {"tool", "thaw/0.1.0"}};
  EXPECT_EQ(entry_json(), expected);
  // And byte for byte around it.
  EXPECT_EQ(to_hex(encode_generation(sample_entry())->view()),
            to_hex(sealed("thawen01", expected.dump()).view()));
}

TEST(RecordTest, OtherRecordsAsDocumented) {
  const Json tombstone = {
      {"type", "tombstone"}, {"key", "k"}, {"generation", 3}, {"created_ns", 4}};
  EXPECT_EQ(tombstone_json(), tombstone);
  const Json lease = {{"holder", "host/1234"},
                      {"nonce", "12121212121212121212121212121212"},
                      {"created_ns", -5},
                      {"since_ns", 77},
                      {"ttl_s", 3600},
                      {"manifests", {id_of(0xa1).hex(), id_of(0xa2).hex()}},
                      {"packs", {id_of(0xb1).hex()}}};
  EXPECT_EQ(json_of(encode_lease(sample_lease()).value()), lease);
  const Json condemned = {{"holder", "host/1234"},
                          {"created_ns", 78},
                          {"packs", {id_of(0xc1).hex(), id_of(0xc2).hex()}},
                          {"manifests", {id_of(0xd1).hex()}}};
  EXPECT_EQ(json_of(encode_condemned(sample_condemned()).value()), condemned);
  const Json refusal = {{"key", "site/shop"},
                        {"newest", 6},
                        {"reason", "shrunken"},
                        {"bytes", 12},
                        {"created_ns", 99}};
  EXPECT_EQ(json_of(encode_refusal(sample_refusal()).value()), refusal);
}

TEST(RecordTest, OtherRoundTrips) {
  const auto tombstone = decode_generation(encode_generation(Tombstone{"k", 3, 4}).value());
  ASSERT_TRUE(is_ok(tombstone));
  EXPECT_EQ(std::get<Tombstone>(*tombstone).key, "k");
  EXPECT_EQ(std::get<Tombstone>(*tombstone).generation, 3U);
  EXPECT_EQ(std::get<Tombstone>(*tombstone).created_ns, 4);

  const auto lease = decode_lease(encode_lease(sample_lease()).value());
  ASSERT_TRUE(is_ok(lease));
  EXPECT_EQ(*lease, sample_lease());
  const Lease plain{"h/1", {}, 1, 0, 60, {}, {}};
  EXPECT_EQ(decode_lease(encode_lease(plain).value()).value(), plain);

  const auto condemned = decode_condemned(encode_condemned(sample_condemned()).value());
  ASSERT_TRUE(is_ok(condemned));
  EXPECT_EQ(*condemned, sample_condemned());

  const auto refusal = decode_refusal(encode_refusal(sample_refusal()).value());
  ASSERT_TRUE(is_ok(refusal));
  EXPECT_EQ(refusal->key, "site/shop");
  EXPECT_EQ(refusal->newest, 6U);
  EXPECT_EQ(refusal->reason, "shrunken");
  EXPECT_EQ(refusal->bytes, 12U);
  EXPECT_EQ(refusal->created_ns, 99);
}

TEST(RecordTest, EveryFlippedBitAndTruncationIsDetected) {
  Entry entry = sample_entry();
  entry.manifest = Buffer(std::string("attached"));
  const Buffer objects[] = {
      encode_generation(entry).value(), encode_generation(Tombstone{"k", 3, 4}).value(),
      encode_lease(sample_lease()).value(), encode_refusal(sample_refusal()).value(),
      encode_condemned(sample_condemned()).value()};
  const auto all_fail = [](const Buffer& object) {
    return fails_with(Code::corrupt, decode_generation(object)) &&
           fails_with(Code::corrupt, decode_lease(object)) &&
           fails_with(Code::corrupt, decode_condemned(object)) &&
           fails_with(Code::corrupt, decode_refusal(object));
  };
  for (const Buffer& object : objects) {
    for (size_t bit = 0; bit < object.size() * 8; ++bit) {
      std::string broken(as_text(object.view()));
      broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ 1 << bit % 8);
      EXPECT_TRUE(all_fail(Buffer(broken))) << bit;
    }
    for (size_t size = 0; size < object.size(); ++size) {
      EXPECT_TRUE(all_fail(object.slice(0, size))) << size;
    }
    EXPECT_TRUE(all_fail(Buffer(std::string(as_text(object.view())) + '\0')));
  }
}

TEST(RecordTest, KindsAreNotMistakenForOneAnother) {
  const Buffer entry = encode_generation(sample_entry()).value();
  const Buffer lease = encode_lease(sample_lease()).value();
  const Buffer refusal = encode_refusal(sample_refusal()).value();
  EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(lease)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(refusal)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_lease(entry)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_refusal(lease)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_condemned(lease)));
  EXPECT_TRUE(
      fails_with(Code::corrupt, decode_generation(sealed("thawen02", entry_json().dump()))));
}

TEST(RecordTest, EveryMemberIsNeededAndOfItsType) {
  const auto probe = [](const Json& valid, std::string_view magic, const auto& decode,
                        const std::string& optional) {
    ASSERT_TRUE(is_ok(decode(sealed(magic, valid.dump()))));
    for (const auto& [name, value] : valid.items()) {
      SCOPED_TRACE(name);
      Json without = valid;
      without.erase(name);
      EXPECT_TRUE(fails_with(Code::corrupt, decode(sealed(magic, without.dump()))));
      // Nothing that is no object of strings, digest, id, unsigned or such can stand for another.
      for (const Json& wrong : {Json(nullptr), Json(true), Json(-1.5), Json::array({1})}) {
        Json changed = valid;
        changed[name] = wrong;
        EXPECT_TRUE(fails_with(Code::corrupt, decode(sealed(magic, changed.dump()))));
      }
    }
    Json more = valid;
    more["of a later version"] = {{"x", 1}};
    EXPECT_TRUE(is_ok(decode(sealed(magic, more.dump())))) << optional;
  };
  probe(entry_json(), "thawen01", decode_generation, "");
  probe(tombstone_json(), "thawen01", decode_generation, "");
  probe(json_of(encode_lease(sample_lease()).value()), "thawle01", decode_lease, "");
  probe(json_of(encode_refusal(sample_refusal()).value()), "thawre01", decode_refusal, "");
  probe(json_of(encode_condemned(sample_condemned()).value()), "thawco01", decode_condemned, "");
}

TEST(RecordTest, MalformedMembers) {
  const std::pair<const char*, Json> changes[] = {
      {"type", "lease"},
      {"key", ""},
      {"key", "a//b"},
      {"key", "a@1"},
      {"generation", 0},
      {"generation", -1},
      {"generation", 1.0},
      {"snapshot", "00"},
      {"content", std::string(64, 'A')},
      {"nonce", std::string(31, 'a')},
      {"created_ns", uint64_t{1} << 63},
      {"files", -1},
      {"bytes", "12"},
      {"labels", {{"a", 1}}},
      {"labels", {{"", "x"}}},
      {"labels", {{"a", std::string(limits::kLabelValueBytes + 1, 'x')}}},
      {"manifest", "x"},
      {"manifest", Json::object()},
      {"manifest",
       {{"id", std::string(32, 'a')},
        {"size", limits::kManifestStoredBytes + 1},
        {"sha256", std::string(64, 'a')}}},
  };
  for (const auto& [name, value] : changes) {
    Json json = entry_json();
    json[name] = value;
    EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(seal_entry(json)))) << name << value;
  }
  for (const char* text :
       {"", "{", "[]", "1", "null", "{} {}", "{}\0", "\xff", "{\"a\":\"\xff\"}"}) {
    EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(sealed("thawen01", text)))) << text;
  }
}

TEST(RecordTest, Attachments) {
  Json without_ref = entry_json();
  without_ref.erase("manifest");
  EXPECT_TRUE(is_ok(decode_generation(seal_entry(without_ref, "manifest"))));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(seal_entry(without_ref))));
  // Which of the two would it be?
  EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(seal_entry(entry_json(), "manifest"))));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(seal_entry(tombstone_json(), "x"))));
  const std::string lease = json_of(encode_lease(sample_lease()).value()).dump();
  EXPECT_TRUE(fails_with(Code::corrupt, decode_lease(sealed("thawle01", lease, "x"))));
  const std::string refusal = json_of(encode_refusal(sample_refusal()).value()).dump();
  EXPECT_TRUE(fails_with(Code::corrupt, decode_refusal(sealed("thawre01", refusal, "x"))));
  const std::string over(limits::kInlineManifestBytes + 1, 'x');
  EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(seal_entry(without_ref, over))));
}

TEST(RecordTest, LengthsThatDoNotFit) {
  for (const auto& [at, change] : {std::pair<size_t, uint32_t>{8, 1},
                                   {8, UINT32_MAX},
                                   {12, 1},
                                   {12, UINT32_MAX},
                                   {8, 1U << 31}}) {
    std::string object(as_text(encode_generation(sample_entry())->view()));
    auto* bytes = reinterpret_cast<uint8_t*>(object.data());
    store_le(bytes + at, load_le<uint32_t>(bytes + at) + change);
    const Digest sum = sha256(as_bytes(object).first(object.size() - 32));
    std::copy(sum.bytes.begin(), sum.bytes.end(), bytes + object.size() - 32);
    EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(Buffer(object))));
  }
}

TEST(RecordTest, DeepJsonIsNoTrouble) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_TRUE(fails_with(Code::corrupt, decode_generation(sealed("thawen01", deep))));
  std::string nested = entry_json().dump();
  nested.insert(1, "\"more\":" + deep + ",");
  EXPECT_TRUE(is_ok(decode_generation(sealed("thawen01", nested))));
}

TEST(RecordTest, WritersKeepTheCaps) {
  Entry entry = sample_entry();
  entry.manifest = Buffer(std::string(limits::kInlineManifestBytes + 1, 'x'));
  EXPECT_TRUE(fails_with(Code::exhausted, encode_generation(entry)));
  entry.manifest = Buffer();
  EXPECT_TRUE(fails_with(Code::internal, encode_generation(entry)));
  entry = sample_entry();
  entry.host = std::string(limits::kSealedRecordBytes, 'h');
  EXPECT_TRUE(fails_with(Code::exhausted, encode_generation(entry)));
  entry = sample_entry();
  entry.generation = 0;
  EXPECT_TRUE(fails_with(Code::internal, encode_generation(entry)));
  entry = sample_entry();
  entry.key = "a@b";
  EXPECT_TRUE(fails_with(Code::internal, encode_generation(entry)));
  EXPECT_TRUE(fails_with(Code::internal, encode_generation(Tombstone{"", 1, 0})));
  entry = sample_entry();
  std::get<ManifestRef>(entry.manifest).size_bytes = limits::kManifestStoredBytes + 1;
  EXPECT_TRUE(fails_with(Code::internal, encode_generation(entry)));
  Lease lease = sample_lease();
  lease.packs.resize(40'000);
  EXPECT_TRUE(fails_with(Code::exhausted, encode_lease(lease)));
  Condemned most;
  most.holder = std::string(256, 'h');
  most.packs.resize(limits::kCondemnedObjects);
  EXPECT_TRUE(is_ok(encode_condemned(most)));
}

TEST(RecordTest, HostNamesMayBeAnything) {
  Entry entry = sample_entry();
  entry.host = "\xff\xfe";
  const auto object = encode_generation(entry);
  ASSERT_TRUE(is_ok(object));
  EXPECT_EQ(std::get<Entry>(*decode_generation(*object)).host, "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(LabelsTest, Caps) {
  Labels most;
  for (size_t i = 0; i < limits::kLabels; ++i) {
    std::string name = std::to_string(i);
    name.resize(limits::kLabelNameBytes, 'n');
    most[name] = std::string(limits::kLabelValueBytes, 'v');
  }
  EXPECT_TRUE(is_ok(check_labels(most)));
  Entry entry = sample_entry();
  entry.labels = most;
  EXPECT_TRUE(is_ok(encode_generation(entry)));
  most["one more"] = "";
  const Labels refused[] = {most,
                            {{"", "v"}},
                            {{std::string(limits::kLabelNameBytes + 1, 'n'), ""}},
                            {{"n", std::string(limits::kLabelValueBytes + 1, 'v')}},
                            {{"\xff", ""}},
                            {{"n", "\xff"}}};
  for (const Labels& labels : refused) {
    EXPECT_TRUE(fails_with(Code::invalid, check_labels(labels)));
    entry.labels = labels;
    EXPECT_TRUE(fails_with(Code::invalid, encode_generation(entry)));
  }
}

TEST(StoreMarkerTest, AsDocumented) {
  EXPECT_EQ(as_text(encode_store_marker().view()), "{\"kind\":\"thaw-store\",\"format\":1}\n");
  EXPECT_TRUE(is_ok(check_store_marker(encode_store_marker().view())));
  EXPECT_TRUE(is_ok(
      check_store_marker(as_bytes(R"({"format":1,"kind":"thaw-store","of a later version":[]})"))));
}

TEST(StoreMarkerTest, OtherFormatsAreNamed) {
  for (const char* number : {"0", "2", "10", "18446744073709551615"}) {
    const std::string marker = std::string(R"({"kind":"thaw-store","format":)") + number + "}\n";
    const auto checked = check_store_marker(as_bytes(marker));
    ASSERT_TRUE(fails_with(Code::invalid, checked));
    EXPECT_NE(checked.error().message().find(std::string("format ") + number), std::string::npos);
    EXPECT_NE(checked.error().message().find("format 1"), std::string::npos);
  }
}

TEST(StoreMarkerTest, WhatIsNoMarker) {
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string("[]"), std::string("\"thaw-store\""),
        std::string(R"({"kind":"thaw-store"})"), std::string(R"({"format":1})"),
        std::string(R"({"kind":"other","format":1})"), std::string(R"({"kind":1,"format":1})"),
        std::string(R"({"kind":"thaw-store","format":"1"})"),
        std::string(R"({"kind":"thaw-store","format":-1})"),
        std::string(R"({"kind":"thaw-store","format":1.0})"),
        std::string(R"({"kind":"thaw-store","format":1}x)"),
        R"({"kind":"thaw-store","format":1})" + std::string(limits::kStoreMarkerBytes, ' ')}) {
    EXPECT_TRUE(fails_with(Code::corrupt, check_store_marker(as_bytes(text)))) << text;
  }
}

TEST(StoreMarkerTest, EveryFlippedBitAndTruncationIsRefused) {
  const std::string marker(as_text(encode_store_marker().view()));
  for (size_t bit = 0; bit < marker.size() * 8; ++bit) {
    std::string broken = marker;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ 1 << bit % 8);
    EXPECT_FALSE(check_store_marker(as_bytes(broken))) << broken;
  }
  // All but the newline.
  for (size_t size = 0; size + 1 < marker.size(); ++size) {
    EXPECT_FALSE(check_store_marker(as_bytes(marker).first(size)));
  }
}

}  // namespace
}  // namespace thaw::test
