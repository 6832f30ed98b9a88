#include "format/manifest.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "format/limits.h"
#include "support/crafted_manifest.h"
#include "support/random_bytes.h"
#include "support/result_check.h"
#include "support/sample_manifest.h"

namespace thaw::test {
namespace {

Result<ByteVector> encode(Manifest manifest, unsigned threads = 1) {
  return encode_manifest(Context(), manifest, threads);
}

// The same columns by hand, with live bytes that fit.
ByteVector craft(const Manifest& manifest) {
  std::vector<PackRef> packs = manifest.layout.packs;
  for (const ChunkPlace& chunk : manifest.layout.chunks) {
    if (chunk.pack < packs.size()) packs[chunk.pack].live_stored_bytes += chunk.stored_bytes;
  }
  return wrap_body(build_body(columns_of(manifest)).view(), packs);
}

void expect_same_layout(const Manifest& left, const Manifest& right) {
  ASSERT_EQ(left.tree.contents.size(), right.tree.contents.size());
  for (uint32_t i = 0; i < left.tree.contents.size(); ++i) {
    EXPECT_EQ(left.tree.contents[i], right.tree.contents[i]);
    const auto ours = left.layout.extents_of(i);
    const auto theirs = right.layout.extents_of(i);
    ASSERT_EQ(ours.size(), theirs.size());
    for (size_t k = 0; k < ours.size(); ++k) {
      EXPECT_EQ(ours[k].file_offset, theirs[k].file_offset);
      EXPECT_EQ(ours[k].chunk, theirs[k].chunk);
      EXPECT_EQ(ours[k].chunk_offset, theirs[k].chunk_offset);
      EXPECT_EQ(ours[k].length, theirs[k].length);
    }
  }
  ASSERT_EQ(left.layout.chunks.size(), right.layout.chunks.size());
  for (size_t i = 0; i < left.layout.chunks.size(); ++i) {
    const ChunkPlace& ours = left.layout.chunks[i];
    const ChunkPlace& theirs = right.layout.chunks[i];
    EXPECT_EQ(ours.digest, theirs.digest);
    EXPECT_EQ(ours.pack, theirs.pack);
    EXPECT_EQ(ours.offset, theirs.offset);
    EXPECT_EQ(ours.stored_bytes, theirs.stored_bytes);
    EXPECT_EQ(ours.content_bytes, theirs.content_bytes);
    EXPECT_EQ(ours.codec, theirs.codec);
    EXPECT_EQ(ours.kind, theirs.kind);
  }
  ASSERT_EQ(left.layout.packs.size(), right.layout.packs.size());
  for (size_t i = 0; i < left.layout.packs.size(); ++i) {
    EXPECT_EQ(left.layout.packs[i].id, right.layout.packs[i].id);
    EXPECT_EQ(left.layout.packs[i].size_bytes, right.layout.packs[i].size_bytes);
  }
}

TEST(ManifestTest, RoundTripOfOneOfEverything) {
  const Manifest manifest = sample_manifest();
  const auto object = encode(manifest);
  ASSERT_TRUE(is_ok(object));
  const auto decoded = decode_manifest(object->view());
  ASSERT_TRUE(is_ok(decoded));
  EXPECT_EQ(ids_of(decoded->tree), ids_of(manifest.tree));
  expect_same_layout(*decoded, manifest);
  for (uint32_t i = 0; i < Sample::count; ++i) {
    EXPECT_EQ(decoded->tree.path(i), manifest.tree.path(i));
    EXPECT_EQ(decoded->tree.nodes[i].owner, manifest.tree.nodes[i].owner);
    EXPECT_EQ(decoded->tree.nodes[i].mtime_ns, manifest.tree.nodes[i].mtime_ns);
    EXPECT_EQ(decoded->tree.nodes[i].link_to, manifest.tree.nodes[i].link_to);
    EXPECT_EQ(decoded->tree.nodes[i].xattrs, manifest.tree.nodes[i].xattrs);
  }
  EXPECT_EQ(decoded->tree.xattr_sets, manifest.tree.xattr_sets);
  EXPECT_EQ(decoded->layout.packs[0].live_stored_bytes, 4596U);
  EXPECT_EQ(decoded->layout.packs[1].live_stored_bytes, 70'000U);
}

TEST(ManifestTest, EmptyTree) {
  const auto object = encode({empty_tree(), {}});
  ASSERT_TRUE(is_ok(object));
  const auto decoded = decode_manifest(object->view());
  ASSERT_TRUE(is_ok(decoded));
  EXPECT_EQ(ids_of(decoded->tree), ids_of(empty_tree()));
  EXPECT_TRUE(decoded->layout.packs.empty());
}

TEST(ManifestTest, TheEncoderTellsTheCallerTheLiveBytes) {
  Manifest manifest = sample_manifest();
  manifest.layout.packs[1].live_stored_bytes = 5;
  ASSERT_TRUE(is_ok(encode_manifest(Context(), manifest, 1)));
  EXPECT_EQ(manifest.layout.packs[0].live_stored_bytes, 4596U);
  EXPECT_EQ(manifest.layout.packs[1].live_stored_bytes, 70'000U);
}

TEST(ManifestTest, TablesMayStandInAnyOrder) {
  Manifest manifest = sample_manifest();
  // Targets out of node order, one unused; extents of the contents backwards.
  manifest.tree.targets = {"unused", "/elsewhere", manifest.tree.targets[0]};
  manifest.tree.nodes[Sample::symlink].payload = 2;
  add_node(manifest.tree, 0, "{", S_IFLNK | 0777, 1);
  manifest.layout.extents = {{4096, 1, 0, 4096}, {1024 * 1024, 2, 100, 5000}, {0, 0, 200, 1000}};
  manifest.layout.contents = {{3, 0}, {2, 1}, {0, 2}};
  const auto object = encode(manifest);
  ASSERT_TRUE(is_ok(object));
  const auto decoded = decode_manifest(object->view());
  ASSERT_TRUE(is_ok(decoded));
  EXPECT_EQ(ids_of(decoded->tree), ids_of(manifest.tree));
  expect_same_layout(*decoded, manifest);
}

Manifest large_manifest(uint64_t seed) {
  TestRandom random(seed);
  Manifest manifest{empty_tree(), {}};
  Layout& layout = manifest.layout;
  for (uint8_t i = 0; i < 20; ++i) {
    PackRef pack;
    pack.id.bytes.fill(i);
    pack.size_bytes = 16 * limits::kMiB;
    layout.packs.push_back(pack);
  }
  for (uint32_t i = 0; i < 500; ++i) {
    layout.chunks.push_back({sha256(as_bytes(std::to_string(i))),
                             static_cast<uint32_t>(random.below(20)), 8 + i, 1'000'000, 2'000'000,
                             Codec::zstd, ChunkKind::whole});
  }
  uint32_t directory = 0;
  for (uint32_t i = 100'000; i < 140'000; ++i) {
    if (i % 100 == 0) {
      directory = add_node(manifest.tree, 0, "d" + std::to_string(i), S_IFDIR | 0755);
    }
    const auto content = static_cast<uint32_t>(manifest.tree.contents.size());
    const auto extents = static_cast<uint32_t>(random.below(4));
    manifest.tree.contents.push_back({sha256(as_bytes("f" + std::to_string(i))), 1'000'000});
    layout.contents.push_back({static_cast<uint32_t>(layout.extents.size()), extents});
    for (uint32_t k = 0; k < extents; ++k) {
      layout.extents.push_back({k * 1000, static_cast<uint32_t>(random.below(500)),
                                static_cast<uint32_t>(random.below(1'000'000)), 1000});
    }
    const uint32_t node =
        add_node(manifest.tree, directory, "f" + std::to_string(i), S_IFREG | 0644, content);
    manifest.tree.nodes[node].mtime_ns = static_cast<int64_t>(random.next());
    manifest.tree.nodes[node].owner = {static_cast<uint32_t>(random.below(1000)), 0};
  }
  return manifest;
}

// Several blocks, several threads, and the same bytes whatever their number.
TEST(ManifestTest, LargeRoundTrip) {
  const uint64_t seed = fresh_seed();
  SCOPED_TRACE(seed);
  const Manifest manifest = large_manifest(seed);
  const auto object = encode(manifest, 3);
  ASSERT_TRUE(is_ok(object));
  EXPECT_GT(load_le<uint64_t>(object->data() + 16), 2 * limits::kMiB);
  const auto decoded = decode_manifest(object->view());
  ASSERT_TRUE(is_ok(decoded));
  EXPECT_EQ(ids_of(decoded->tree), ids_of(manifest.tree));
  expect_same_layout(*decoded, manifest);
  const auto again = encode(manifest, 1);
  ASSERT_TRUE(is_ok(again));
  EXPECT_EQ(sha256(again->view()), sha256(object->view()));
}

TEST(ManifestTest, EncodingStopsOnRequest) {
  StopFlag flag;
  flag.stop();
  Manifest manifest = sample_manifest();
  EXPECT_TRUE(fails_with(Code::cancelled, encode_manifest(Context(flag), manifest, 1)));
}

// The offsets of docs/format.md.
TEST(ManifestTest, HeadAsDocumented) {
  const ByteVector object = encode(sample_manifest()).value();
  const uint8_t* at = object.data();
  EXPECT_EQ(as_text(object.view().first(8)), "thawmf01");
  EXPECT_EQ(load_le<uint32_t>(at + 8), 2U);
  EXPECT_EQ(load_le<uint32_t>(at + 12), 0U);
  EXPECT_EQ(load_le<uint64_t>(at + 24), object.size() - 64 - 2 * 32);
  EXPECT_EQ(to_hex({at + 32, 16}), "11111111111111111111111111111111");
  EXPECT_EQ(load_le<uint64_t>(at + 48), 10'000U);
  EXPECT_EQ(load_le<uint64_t>(at + 56), 4596U);
  EXPECT_EQ(to_hex({at + 64, 16}), "22222222222222222222222222222222");
  EXPECT_EQ(load_le<uint64_t>(at + 80), 64 * limits::kMiB);
  EXPECT_EQ(load_le<uint64_t>(at + 88), 70'000U);
  EXPECT_EQ(to_hex({at + 96, 32}), sha256(object.view().first(96)).hex());
  const Bytes body = object.view().subspan(128);
  EXPECT_EQ(load_le<uint64_t>(at + 16), ZSTD_getFrameContentSize(body.data(), body.size()));
}

// Written without thaw's encoder, by the schema alone.
TEST(ManifestTest, ABodyMadeByHandIsRead) {
  const auto decoded = decode_manifest(craft(sample_manifest()).view());
  ASSERT_TRUE(is_ok(decoded));
  EXPECT_EQ(ids_of(decoded->tree), ids_of(sample_tree()));
  expect_same_layout(*decoded, sample_manifest());
}

TEST(ManifestTest, TheHeadAlone) {
  const ByteVector object = encode(sample_manifest()).value();
  for (size_t size = 0; size < object.size(); ++size) {
    uint64_t needed = 0;
    const auto packs = decode_manifest_head(object.view().first(size), &needed);
    EXPECT_EQ(needed, size < 32 ? 32U : 128U) << size;
    if (size < 128) {
      EXPECT_TRUE(fails_with(Code::corrupt, packs));
      continue;
    }
    ASSERT_TRUE(is_ok(packs));
    ASSERT_EQ(packs->size(), 2U);
    EXPECT_EQ((*packs)[1].live_stored_bytes, 70'000U);
  }
  uint64_t needed = 0;
  const ByteVector empty = encode({empty_tree(), {}}).value();
  EXPECT_TRUE(is_ok(decode_manifest_head(empty.view().first(64), &needed)));
  EXPECT_EQ(needed, 64U);
}

// Everything that check_layout forbids.
const std::pair<const char*, std::function<void(Manifest&)>> kBrokenLayouts[] = {
    {"pack over its cap",
     [](Manifest& m) { m.layout.packs[1].size_bytes = limits::kPackBytes + 1; }},
    {"chunk in no pack", [](Manifest& m) { m.layout.chunks[0].pack = 2; }},
    {"chunk in pack 2^32 - 1", [](Manifest& m) { m.layout.chunks[0].pack = UINT32_MAX; }},
    {"empty chunk",
     [](Manifest& m) {
       m.layout.chunks[1].content_bytes = 0;
       m.layout.chunks[1].stored_bytes = 0;
     }},
    {"frame of no bytes", [](Manifest& m) { m.layout.chunks[0].stored_bytes = 0; }},
    {"chunk over its cap",
     [](Manifest& m) { m.layout.chunks[2].content_bytes = limits::kChunkBytes + 1; }},
    {"frame longer than its chunk", [](Manifest& m) { m.layout.chunks[0].stored_bytes = 1501; }},
    {"raw chunk of two lengths", [](Manifest& m) { m.layout.chunks[1].stored_bytes = 4095; }},
    {"unknown codec", [](Manifest& m) { m.layout.chunks[0].codec = static_cast<Codec>(2); }},
    {"unknown kind", [](Manifest& m) { m.layout.chunks[2].kind = static_cast<ChunkKind>(2); }},
    {"chunk past its pack's end",
     [](Manifest& m) { m.layout.packs[0].size_bytes = 508 + 4096 - 1; }},
    {"chunk at offset 2^32 - 1", [](Manifest& m) { m.layout.chunks[0].offset = UINT32_MAX; }},
    {"empty extent", [](Manifest& m) { m.layout.extents[1].length = 0; }},
    {"extents out of order",
     [](Manifest& m) { std::swap(m.layout.extents[1], m.layout.extents[2]); }},
    {"extents that overlap", [](Manifest& m) { m.layout.extents[2].file_offset = 4096 + 4095; }},
    {"extent past the file's end",
     [](Manifest& m) { m.tree.contents[2].size_bytes = 1024 * 1024 + 4999; }},
    {"extent that begins past the file's end",
     [](Manifest& m) { m.layout.extents[2].file_offset = UINT64_MAX; }},
    {"extent of an empty file",
     [](Manifest& m) {
       m.layout.contents = {{0, 1}, {1, 0}, {1, 2}};
     }},
    {"extent in no chunk", [](Manifest& m) { m.layout.extents[1].chunk = 3; }},
    {"extent in chunk 2^32 - 1", [](Manifest& m) { m.layout.extents[1].chunk = UINT32_MAX; }},
    {"extent past its chunk's end", [](Manifest& m) { m.layout.extents[1].chunk_offset = 1; }},
    {"extent at chunk offset 2^32 - 1",
     [](Manifest& m) { m.layout.extents[1].chunk_offset = UINT32_MAX; }},
    {"bundled file not whole", [](Manifest& m) { m.layout.extents[0].length = 999; }},
    {"bundled file with a hole before it",
     [](Manifest& m) {
       m.layout.extents[0].length = 999;
       m.layout.extents[0].file_offset = 1;
     }},
    {"one of several extents in a bundle",
     [](Manifest& m) {
       m.layout.extents[1].chunk = 0;
       m.layout.extents[1].length = 10;
     }},
    {"bundled file of more than a leaf",
     [](Manifest& m) {
       m.layout.chunks[0].content_bytes = 2 * limits::kMemberBytes;
       m.layout.extents[0] = {0, 0, 0, limits::kMemberBytes + 1};
       m.tree.contents[1].size_bytes = limits::kMemberBytes + 1;
     }},
};

TEST(ManifestTest, BrokenLayoutsAreNeitherWrittenNorRead) {
  for (const auto& [what, make] : kBrokenLayouts) {
    SCOPED_TRACE(what);
    Manifest manifest = sample_manifest();
    make(manifest);
    ASSERT_TRUE(is_ok(check_tree(manifest.tree)));
    EXPECT_TRUE(fails_with(Code::corrupt, check_layout(manifest.tree, manifest.layout)));
    EXPECT_TRUE(fails_with(Code::corrupt, encode(manifest)));
    EXPECT_TRUE(fails_with(Code::corrupt, decode_manifest(craft(manifest).view())));
  }
}

TEST(ManifestTest, LayoutsAtTheirLimits) {
  const std::pair<const char*, std::function<void(Manifest&)>> changes[] = {
      {"bundled file of a whole leaf",
       [](Manifest& m) {
         m.layout.chunks[0].content_bytes = 2 * limits::kMemberBytes;
         m.layout.extents[0] = {0, 0, limits::kMemberBytes, limits::kMemberBytes};
         m.tree.contents[1].size_bytes = limits::kMemberBytes;
       }},
      {"extents side by side", [](Manifest& m) { m.layout.extents[2].file_offset = 2 * 4096; }},
      {"extent to the end of a file as large as may be",
       [](Manifest& m) {
         m.tree.contents[2].size_bytes = limits::kFileBytes;
         m.layout.extents[2].file_offset = limits::kFileBytes - 5000;
       }},
      {"chunk to its pack's end", [](Manifest& m) { m.layout.packs[0].size_bytes = 508 + 4096; }},
      {"chunk as long as may be",
       [](Manifest& m) { m.layout.chunks[2].content_bytes = limits::kChunkBytes; }},
      {"two chunks at one place", [](Manifest& m) { m.layout.chunks[1].offset = 8; }},
      {"all zeros",
       [](Manifest& m) {
         m.layout.extents.resize(1);
         m.layout.contents[2] = {1, 0};
       }},
  };
  for (const auto& [what, make] : changes) {
    SCOPED_TRACE(what);
    Manifest manifest = sample_manifest();
    make(manifest);
    const auto object = encode(manifest);
    ASSERT_TRUE(is_ok(object));
    EXPECT_TRUE(is_ok(decode_manifest(object->view())));
    EXPECT_TRUE(is_ok(decode_manifest(craft(manifest).view())));
  }
}

TEST(ManifestTest, LayoutsThatOnlyAWriterCanBreak) {
  Manifest fewer = sample_manifest();
  fewer.layout.contents.pop_back();
  EXPECT_TRUE(fails_with(Code::corrupt, encode(fewer)));
  for (const ExtentRun run :
       {ExtentRun{2, 2}, ExtentRun{4, 0}, ExtentRun{UINT32_MAX, 1}, ExtentRun{1, UINT32_MAX}}) {
    Manifest outside = sample_manifest();
    outside.layout.contents[2] = run;
    EXPECT_TRUE(fails_with(Code::corrupt, encode(outside)));
  }
  Manifest packs = sample_manifest();
  packs.layout.packs.resize(limits::kManifestPacks + 1);
  EXPECT_TRUE(fails_with(Code::exhausted, encode(packs)));
}

TEST(ManifestTest, BrokenTreesAreNeitherWrittenNorRead) {
  const std::pair<const char*, std::function<void(Tree&)>> changes[] = {
      {"root", [](Tree& t) { t.nodes[0].mode = S_IFREG | 0644; }},
      {"cycle", [](Tree& t) { t.nodes[Sample::dir_a].parent = Sample::dir_a; }},
      {"parent", [](Tree& t) { t.nodes[Sample::fifo].parent = Sample::symlink; }},
      {"order", [](Tree& t) { std::swap(t.nodes[Sample::fifo], t.nodes[Sample::char_device]); }},
      {"slash", [](Tree& t) { t.names[t.nodes[Sample::fifo].name_offset] = '/'; }},
      {"dot", [](Tree& t) { t.names[t.nodes[Sample::dir_a].name_offset] = '.'; }},
      {"content", [](Tree& t) { t.nodes[Sample::same_file].payload = 3; }},
      {"target", [](Tree& t) { t.targets[0] = ""; }},
      {"attributes", [](Tree& t) { t.nodes[Sample::dir_sub].xattrs = 2; }},
      {"attributes' order", [](Tree& t) { std::swap(t.xattr_sets[0][0], t.xattr_sets[0][1]); }},
      {"hard link forward", [](Tree& t) { t.nodes[Sample::hard_link].link_to = 6; }},
      {"hard link to a directory", [](Tree& t) { t.nodes[Sample::hard_link].link_to = 1; }},
      {"hard link of another time", [](Tree& t) { t.nodes[Sample::hard_link].mtime_ns = 1; }},
      {"size", [](Tree& t) { t.contents[2].size_bytes = limits::kFileBytes + 1; }},
  };
  for (const auto& [what, make] : changes) {
    SCOPED_TRACE(what);
    Manifest manifest = sample_manifest();
    make(manifest.tree);
    EXPECT_FALSE(check_tree(manifest.tree));
    EXPECT_FALSE(encode(manifest));
    EXPECT_TRUE(fails_with(Code::corrupt, decode_manifest(craft(manifest).view())));
  }
}

TEST(ManifestTest, CapsOfTheWriter) {
  Manifest owners{empty_tree(), {}};
  for (uint32_t i = 0; i < limits::kOwners - 1; ++i) {
    add_node(owners.tree, 0, std::to_string(100'000 + i), S_IFIFO | 0600);
    owners.tree.nodes.back().owner = {i, 1};
  }
  const auto most = encode(owners);
  ASSERT_TRUE(is_ok(most));
  EXPECT_TRUE(is_ok(decode_manifest(most->view())));
  add_node(owners.tree, 0, "x", S_IFIFO | 0600);
  owners.tree.nodes.back().owner = {1, 2};
  EXPECT_TRUE(fails_with(Code::exhausted, encode(owners)));

  // More extents than a body holds: all contents have the same ones.
  Manifest extents = sample_manifest();
  extents.layout.extents.clear();
  constexpr uint32_t kEach = 1'000'000;
  for (uint32_t i = 0; i < kEach; ++i) extents.layout.extents.push_back({i, 1, 0, 1});
  extents.tree.contents.assign(110, {sha256({}), kEach});
  extents.layout.contents.assign(110, {0, kEach});
  EXPECT_TRUE(fails_with(Code::exhausted, encode(extents)));
}

}  // namespace
}  // namespace thaw::test
