// Writes the seeds of the format's fuzz targets: fuzz/make_seeds DIRECTORY makes
// DIRECTORY/<target>/<name>. They are kept in fuzz/corpus; run it again when the format changes:
//   ./dev build fuzz make_seeds && build/fuzz/fuzz/make_seeds fuzz/corpus
#include <zstd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "format/chunker.h"
#include "format/frame.h"
#include "format/key.h"
#include "format/pack.h"
#include "format/record.h"
#include "format/tier_block.h"
#include "support/crafted_manifest.h"
#include "support/random_bytes.h"
#include "support/sample_manifest.h"

namespace thaw::test {
namespace {

// One target's directory.
class Seeds {
 public:
  Seeds(const std::filesystem::path& root, const char* target) : directory_(root / target) {
    std::filesystem::create_directories(directory_);
  }
  // `lane` becomes the first byte.
  void add(const std::string& name, char lane, std::string_view rest) const {
    std::ofstream file(directory_ / name, std::ios::binary);
    file << lane << rest;
    file.close();
    if (!file) throw std::runtime_error("cannot write " + (directory_ / name).string());
  }
  void add(const std::string& name, char lane, Bytes rest) const { add(name, lane, as_text(rest)); }

 private:
  std::filesystem::path directory_;
};

std::string flipped(Bytes bytes, size_t at) {
  std::string broken(as_text(bytes));
  broken[at] = static_cast<char>(broken[at] ^ 0x10);
  return broken;
}

std::string text_of(size_t size_bytes) {
  std::string text;
  for (int i = 0; text.size() < size_bytes; ++i) text += "line " + std::to_string(i * i) + "\n";
  text.resize(size_bytes);
  return text;
}

void make_manifests(const Seeds& seeds) {
  Manifest sample = sample_manifest();
  const ByteVector object = encode_manifest(Context(), sample, 1).value();
  seeds.add("object", 0, object.view());
  seeds.add("object_cut_off", 0, object.view().first(object.size() - 20));
  seeds.add("object_broken_head", 0, flipped(object.view(), 20));
  seeds.add("object_broken_body", 0, flipped(object.view(), object.size() - 30));
  Manifest empty{empty_tree(), {}};
  const ByteVector empty_object = encode_manifest(Context(), empty, 1).value();
  seeds.add("object_empty_tree", 0, empty_object.view());
  seeds.add("object_empty_body", 0, wrap_body({}, {}).view());

  const CraftedBody columns = columns_of(sample_manifest());
  const ByteVector body = build_body(columns);
  seeds.add("body", 1, body.view());
  seeds.add("body_cut_off", 1, body.view().first(body.size() / 2));
  seeds.add("body_empty_tree", 1, build_body(columns_of({empty_tree(), {}})).view());
  const auto changed = [&](const char* name, auto change) {
    CraftedBody other = columns;
    change(other);
    seeds.add(name, 1, build_body(other).view());
  };
  changed("body_cycle", [](CraftedBody& c) { c.parents[1] = 5; });
  changed("body_short_column", [](CraftedBody& c) { c.modes.pop_back(); });
  changed("body_bad_name", [](CraftedBody& c) { c.names[0] = '/'; });
  changed("body_link_forward", [](CraftedBody& c) { c.links[0] = fb::NodeRef(4, 6); });
  changed("body_extent_overlap", [](CraftedBody& c) { c.extent_file_offsets[2] = 4097; });
  changed("body_huge_file", [](CraftedBody& c) { c.content_sizes[2] = uint64_t{1} << 62; });
  changed("body_no_columns", [](CraftedBody& c) { c = CraftedBody(); });

  flatbuffers::FlatBufferBuilder builder;
  const std::vector<flatbuffers::Offset<fb::Xattr>> xattrs(
      20, fb::CreateXattr(builder, builder.CreateString("user.a"), 0));
  const std::vector<flatbuffers::Offset<fb::XattrSet>> sets(
      20, fb::CreateXattrSetDirect(builder, &xattrs));
  const auto all_sets = builder.CreateVector(sets);
  fb::ManifestBuilder table(builder);
  table.add_xattr_sets(all_sets);
  builder.Finish(table.Finish());
  seeds.add("body_shared_attributes", 1, bytes_of(builder).view());

  for (uint64_t seed = 0; seed < 6; ++seed) {
    seeds.add("recipe_" + std::to_string(seed), 2, random_bytes(200 + 300 * seed, seed));
  }
  seeds.add("recipe_empty", 2, Bytes());
}

void make_packs(const Seeds& seeds) {
  const auto first = random_bytes(10, 1);
  const auto second = random_bytes(33, 2);
  PackBuilder builder;
  builder.add({sha256(first), 10, 10, Codec::raw, ChunkKind::whole}, first);
  builder.add({sha256(second), 33, 4000, Codec::zstd, ChunkKind::bundle}, second);
  const Buffer pack = builder.finish();
  for (const char lane : {0, 1}) {
    const std::string prefix = lane == 0 ? "object" : "sealed";
    seeds.add(prefix, lane, pack.view());
    seeds.add(prefix + "_cut_off", lane, pack.view().first(pack.size() - 1));
    seeds.add(prefix + "_without_front", lane, pack.view().subspan(1));
    seeds.add(prefix + "_other_count", lane, flipped(pack.view(), pack.size() - 48));
    seeds.add(prefix + "_other_length", lane, flipped(pack.view(), pack.size() - 48 - 16));
    seeds.add(prefix + "_padding", lane, flipped(pack.view(), pack.size() - 48 - 1));
  }
  seeds.add("object_without_frames", 0, builder.finish().view());
  seeds.add("recipe", 2, random_bytes(600, 3));
}

void make_records(const Seeds& seeds) {
  Entry entry;
  entry.key = "site/shop";
  entry.generation = 7;
  entry.manifest = ManifestRef{{}, 100, {}};
  entry.created_ns = 1'700'000'000'123'456'789;
  entry.totals = {3, 2, 1, UINT64_MAX};
  entry.labels = {{"branch", "main"}, {"\xc3\xbc", "\n\"\\"}};
  entry.host = "runner-1";
  entry.tool = "thaw/0.1.0";
  Entry with_manifest = entry;
  entry.packs = {{RandomId{}, 7}};
  with_manifest.manifest = Buffer(std::string("attached"));
  Lease lease;
  lease.holder = "host/1234";
  lease.ttl_s = 3600;
  lease.since_ns = 5;
  lease.manifests = {RandomId{}};
  lease.packs = {RandomId{}, RandomId{}};
  Condemned condemned;
  condemned.holder = "host/1234";
  condemned.packs = {RandomId{}};
  condemned.manifests = {RandomId{}};
  const std::pair<const char*, Buffer> records[] = {
      {"entry", encode_generation(entry).value()},
      {"entry_with_manifest", encode_generation(with_manifest).value()},
      {"tombstone", encode_generation(Tombstone{"k", 3, -4}).value()},
      {"lease", encode_lease(lease).value()},
      {"condemned", encode_condemned(condemned).value()},
      {"refusal", encode_refusal({"site/shop", 6, "shrunken", 12, 99}).value()},
  };
  for (const auto& [name, record] : records) {
    const std::string text = name;
    seeds.add(text, 0, record.view());
    seeds.add(text + "_flipped", 1, flipped(record.view(), 40));
    const auto json_bytes = load_le<uint32_t>(record.data() + 8);
    const auto attached = load_le<uint32_t>(record.data() + 12);
    std::string json = {0, static_cast<char>(attached)};
    json += as_text(record.view().subspan(16 + json_bytes, attached));
    json += as_text(record.view().subspan(16, json_bytes));
    seeds.add(text + "_json", 2, json);
  }
  seeds.add("marker", 0, encode_store_marker().view());
  seeds.add("marker_newer", 0, R"({"kind":"thaw-store","format":2})");
  seeds.add("lengths", 1, flipped(records[0].second.view(), 9));
  seeds.add("json_deep", 2, std::string(2, '\0') + std::string(500, '[') + std::string(500, ']'));
  seeds.add(
      "json_numbers", 2,
      std::string(2, '\0') +
          R"({"type":"tombstone","key":"k","generation":1e3,"created_ns":9223372036854775808})");
}

void make_frames(const Seeds& seeds) {
  const std::string text = text_of(3000);
  FrameEncoder encoder;
  const auto encoded = encoder.encode(as_bytes(text)).value();
  const std::string frame(as_text(encoded.bytes));
  const auto coded = [](char codec, uint32_t content_bytes) {
    std::string front(1, codec);
    for (int shift = 24; shift >= 0; shift -= 8) {
      front.push_back(static_cast<char>(content_bytes >> shift));
    }
    return front + '\0';
  };
  seeds.add("zstd", 0, coded(1, 3000) + frame);
  seeds.add("zstd_cut_off", 0, coded(1, 3000) + frame.substr(0, 50));
  seeds.add("zstd_shorter", 0, coded(1, 2999) + frame);
  seeds.add("zstd_trailing", 0, coded(1, 3000) + frame + "x");
  seeds.add("zstd_twice", 0, coded(1, 6000) + frame + frame);
  seeds.add(
      "zstd_zeros", 0,
      coded(1, 1 << 20) + std::string(as_text(compress(std::vector<uint8_t>(1 << 20)).view())));
  seeds.add("skippable", 0, coded(1, 1) + std::string("\x50\x2a\x4d\x18\1\0\0\0x", 9));
  seeds.add("raw", 0, coded(0, 100) + text.substr(0, 100));
  seeds.add("raw_longer", 0, coded(0, 101) + text.substr(0, 100));
  seeds.add("unknown_codec", 0, coded(2, 100) + text.substr(0, 100));
  seeds.add("content_text", 1, text);
  seeds.add("content_random", 1, random_bytes(2000, 1));
  seeds.add("content_zeros", 1, std::vector<uint8_t>(5000));
  seeds.add("content_empty", 1, Bytes());
  seeds.add("change_length", 2, std::string("\0\0\0\0\0\1", 6) + text);
  seeds.add("change_byte", 2, std::string("\0\0\0\x40\x55\0", 6) + text);
}

void make_keys(const Seeds& seeds) {
  const Key key = Key::parse("site/shop/deno-dir").value();
  seeds.add("key", 0, key.text());
  seeds.add("unicode", 0, std::string_view("\xc3\xbc/\xe2\x82\xac/\xf0\x9f\xa7\x8a"));
  seeds.add("reference", 0, std::string_view("a/b@17"));
  seeds.add("reference_largest", 0, std::string_view("a@18446744073709551615"));
  seeds.add("reference_zero", 0, std::string_view("a@0"));
  seeds.add("entry", 63, entry_name(key, 1));
  seeds.add("entry_largest", 0, entry_name(key, UINT64_MAX));
  seeds.add("entry_upper_case", 0, std::string_view("keys/a/@/FFFFFFFFFFFFFFFE"));
  seeds.add("refusal", 60, refusal_prefix(key, 3) + std::string(32, '0'));
  seeds.add("empty_segment", 0, std::string_view("a//b"));
  seeds.add("dots", 0, std::string_view("a/../b"));
  seeds.add("control", 0, std::string_view("a\xc2\x9b"));
  seeds.add("surrogate", 0, std::string_view("\xed\xa0\x80"));
  seeds.add("long_segment", 0, std::string(201, 's'));
  seeds.add("long_key", 0,
            std::string(199, 's') + "/" + std::string(199, 's') + "/" + std::string(113, 's'));
}

// The first of five numbers (smallest, normal, largest, repeats) begins with the "lane".
void make_chunks(const Seeds& seeds) {
  const auto sizes = [](char min, char normal, char max, char repeats) {
    return std::string{0, 0, min, 0, 0, 0, normal, 0, 0, 0, max, 0, 0, 0, repeats};
  };
  seeds.add("random", 0, sizes(7, 64, 100, 1) + std::string(as_text(random_bytes(4000, 1))));
  seeds.add("repeated", 0, sizes(31, 100, 127, 9) + std::string(as_text(random_bytes(333, 2))));
  seeds.add("text", 0, sizes(15, 40, 120, 3) + text_of(1000));
  seeds.add("zeros", 0, sizes(7, 64, 100, 1) + std::string(2000, '\0'));
  seeds.add("smallest_sizes", 0, sizes(0, 0, 0, 1) + std::string(as_text(random_bytes(50, 3))));
  seeds.add("empty", 0, std::string_view());
}

void make_tier_blocks(const Seeds& seeds) {
  const TierBlock value{.object = "images/rootfs.ext4",
                        .etag = "9a-12",
                        .number = 1,
                        .object_bytes = 65'536 + 1000,
                        .modified_ns = 1'700'000'000'000'000'000,
                        .full_bytes = 65'536};
  const ByteVector block = encode_tier_block(value, random_bytes(1000, 1));
  for (const char lane : {0, 1}) {
    const std::string prefix = lane == 0 ? "block" : "sealed";
    seeds.add(prefix, lane, block.view());
    seeds.add(prefix + "_cut_off", lane, block.view().first(block.size() - 1));
    seeds.add(prefix + "_header", lane, block.view().first(4096));
    for (const size_t at :
         {12U, 16U, 20U, 24U, 32U, 48U, 50U, 52U, 56U, 64U, 3000U, 4090U, 4100U}) {
      seeds.add(prefix + "_flipped_" + std::to_string(at), lane, flipped(block.view(), at));
    }
  }
  for (uint64_t seed = 0; seed < 4; ++seed) {
    seeds.add("recipe_" + std::to_string(seed), 2, random_bytes(2500, seed));
  }
  seeds.add("marker", 3, encode_tier_marker().view());
}

}  // namespace
}  // namespace thaw::test

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_seeds DIRECTORY\n");
    return 2;
  }
  using thaw::test::Seeds;
  thaw::test::make_manifests(Seeds(argv[1], "manifest_fuzz"));
  thaw::test::make_packs(Seeds(argv[1], "pack_fuzz"));
  thaw::test::make_records(Seeds(argv[1], "record_fuzz"));
  thaw::test::make_frames(Seeds(argv[1], "frame_fuzz"));
  thaw::test::make_keys(Seeds(argv[1], "key_fuzz"));
  thaw::test::make_chunks(Seeds(argv[1], "chunker_fuzz"));
  thaw::test::make_tier_blocks(Seeds(argv[1], "tier_block_fuzz"));
  return 0;
}
