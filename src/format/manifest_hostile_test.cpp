// Manifests that nobody writes: broken, cut off, and made to cost more than they are worth.
#include <gtest/gtest.h>
#include <zstd.h>

#include <functional>
#include <string>
#include <vector>

#include "format/limits.h"
#include "format/manifest.h"
#include "support/crafted_manifest.h"
#include "support/result_check.h"
#include "support/sample_manifest.h"

namespace thaw::test {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

std::vector<PackRef> sample_packs() {
  std::vector<PackRef> packs = sample_layout().packs;
  packs[0].live_stored_bytes = 4596;
  packs[1].live_stored_bytes = 70'000;
  return packs;
}

CraftedBody sample_columns() { return columns_of(sample_manifest()); }

ByteVector sample_object() {
  Manifest manifest = sample_manifest();
  return encode_manifest(Context(), manifest, 1).value();
}

Result<Manifest> decode_columns(const CraftedBody& columns) {
  return decode_manifest(wrap_body(build_body(columns).view(), sample_packs()).view());
}

Result<Manifest> decode_changed(const std::function<void(CraftedBody&)>& change) {
  CraftedBody columns = sample_columns();
  change(columns);
  return decode_columns(columns);
}

// An empty directory, to which `add` gives further fields. The columns of the root stand already.
Result<Manifest> decode_with(
    const std::function<std::function<void(fb::ManifestBuilder&)>(FlatBufferBuilder&)>& write) {
  FlatBufferBuilder builder;
  const auto parents = builder.CreateVector(std::vector<uint32_t>{0});
  const auto name_lengths = builder.CreateVector(std::vector<uint8_t>{0});
  const auto modes = builder.CreateVector(std::vector<uint16_t>{S_IFDIR | 0755});
  const auto owner_indices = builder.CreateVector(std::vector<uint16_t>{0});
  const auto mtimes = builder.CreateVector(std::vector<int64_t>{0});
  const auto owners = builder.CreateVectorOfStructs(std::vector<fb::Owner>{{0, 0}});
  const auto add = write(builder);
  fb::ManifestBuilder table(builder);
  table.add_parents(parents);
  table.add_name_lengths(name_lengths);
  table.add_modes(modes);
  table.add_owner_indices(owner_indices);
  table.add_mtimes_ns(mtimes);
  table.add_owners(owners);
  add(table);
  builder.Finish(table.Finish());
  return decode_manifest(wrap_body(bytes_of(builder).view(), {}).view());
}

TEST(HostileManifestTest, EveryTruncationIsRefused) {
  const ByteVector object = sample_object();
  for (size_t size = 0; size < object.size(); ++size) {
    EXPECT_TRUE(fails_with(Code::corrupt, decode_manifest(object.view().first(size)))) << size;
  }
  ByteVector longer = sample_object();
  append_le(longer, uint8_t{0});
  EXPECT_TRUE(fails_with(Code::corrupt, decode_manifest(longer.view())));
}

// The entry holds the object's digest; what passes without it must still be sound.
TEST(HostileManifestTest, EveryFlippedBitFailsOrLeavesASoundManifest) {
  const ByteVector object = sample_object();
  const size_t head_bits = (64 + 2 * 32) * 8;
  for (size_t bit = 0; bit < object.size() * 8; ++bit) {
    ByteVector broken;
    broken.append(object.view());
    broken.data()[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    auto decoded = decode_manifest(broken.view());
    if (!decoded) {
      EXPECT_TRUE(fails_with(Code::corrupt, decoded));
      continue;
    }
    EXPECT_GE(bit, head_bits);
    EXPECT_TRUE(is_ok(encode_manifest(Context(), *decoded, 1)));
  }
}

// Compressed or not, a change must do no harm: here each gets past the checksum and zstd.
TEST(HostileManifestTest, EveryChangedByteOfTheBodyFailsOrLeavesASoundManifest) {
  const ByteVector body = build_body(sample_columns());
  size_t sound = 0;
  for (size_t i = 0; i < body.size() * 2; ++i) {
    ByteVector broken;
    broken.append(body.view());
    broken.data()[i / 2] ^= static_cast<uint8_t>(i % 2 == 0 ? 1 << i / 2 % 8 : 0xff);
    auto decoded = decode_manifest(wrap_body(broken.view(), sample_packs()).view());
    if (!decoded) {
      EXPECT_TRUE(fails_with(Code::corrupt, decoded));
      continue;
    }
    ++sound;
    const TreeIds ids = ids_of(decoded->tree);
    const auto again = encode_manifest(Context(), *decoded, 1);
    ASSERT_TRUE(is_ok(again));
    EXPECT_EQ(ids_of(decode_manifest(again->view())->tree), ids);
  }
  EXPECT_GT(sound, 1000U);
}

TEST(HostileManifestTest, Heads) {
  const ByteVector body = build_body(sample_columns());
  const ByteVector stored = compress(body.view());
  EXPECT_TRUE(
      is_ok(decode_manifest(wrap_stored(stored.view(), body.size(), sample_packs()).view())));
  for (const uint64_t wrong :
       {uint64_t{0}, body.size() - 1, body.size() + 1, limits::kManifestBodyBytes, UINT64_MAX}) {
    EXPECT_TRUE(fails_with(
        Code::corrupt, decode_manifest(wrap_stored(stored.view(), wrong, sample_packs()).view())));
  }
  // Live bytes that are not the chunks', fewer packs than they name, more than the cap.
  auto packs = sample_packs();
  packs[0].live_stored_bytes += 1;
  EXPECT_TRUE(fails_with(Code::corrupt, decode_manifest(wrap_body(body.view(), packs).view())));
  packs = sample_packs();
  packs.pop_back();
  EXPECT_TRUE(fails_with(Code::corrupt, decode_manifest(wrap_body(body.view(), packs).view())));
  packs = sample_packs();
  packs.resize(limits::kManifestPacks);
  EXPECT_TRUE(is_ok(decode_manifest(wrap_body(body.view(), packs).view())));
  packs.emplace_back();
  EXPECT_TRUE(fails_with(Code::corrupt, decode_manifest(wrap_body(body.view(), packs).view())));
  uint64_t needed = 0;
  EXPECT_TRUE(
      fails_with(Code::corrupt,
                 decode_manifest_head(wrap_body(body.view(), packs).view().first(32), &needed)));
  EXPECT_EQ(needed, 32U);
}

TEST(HostileManifestTest, ReservedBytesOfTheHead) {
  ByteVector object = sample_object();
  object.data()[12] = 1;
  const Digest sum = sha256(object.view().first(96));
  std::copy(sum.bytes.begin(), sum.bytes.end(), object.data() + 96);
  EXPECT_TRUE(fails_with(Code::corrupt, decode_manifest(object.view())));
}

TEST(HostileManifestTest, Frames) {
  const ByteVector body = build_body(sample_columns());
  const auto decode_stored = [&](const std::vector<Bytes>& frames) {
    ByteVector stored;
    for (const Bytes frame : frames) stored.append(frame);
    return decode_manifest(wrap_stored(stored.view(), body.size(), sample_packs()).view());
  };
  const ByteVector front = compress(body.view().first(100));
  const ByteVector back = compress(body.view().subspan(100));
  const ByteVector empty = compress({});
  EXPECT_TRUE(is_ok(decode_stored({front.view(), back.view()})));
  EXPECT_TRUE(is_ok(decode_stored({front.view(), empty.view(), back.view()})));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_stored({})));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_stored({front.view()})));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_stored({back.view(), front.view()})));
  const std::vector<uint8_t> skippable = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'};
  EXPECT_TRUE(fails_with(Code::corrupt, decode_stored({skippable, front.view(), back.view()})));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_stored({front.view(), back.view(), skippable})));
  const std::vector<uint8_t> noise = {1, 2, 3};
  EXPECT_TRUE(fails_with(Code::corrupt, decode_stored({front.view(), back.view(), noise})));

  ByteVector unsized(ZSTD_compressBound(body.size()));
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  unsized.resize(ZSTD_compress2(context, unsized.data(), unsized.size(), body.data(), body.size()));
  ZSTD_freeCCtx(context);
  EXPECT_TRUE(fails_with(Code::corrupt, decode_stored({unsized.view()})));
}

TEST(HostileManifestTest, NoBodyAndNoFlatBuffer) {
  for (const size_t size : {0, 1, 4, 8, 100}) {
    const std::vector<uint8_t> zeros(size);
    EXPECT_TRUE(fails_with(Code::corrupt, decode_manifest(wrap_body(zeros, {}).view())));
    const std::vector<uint8_t> ones(size, 0xff);
    EXPECT_TRUE(fails_with(Code::corrupt, decode_manifest(wrap_body(ones, {}).view())));
  }
  // A table without any column.
  FlatBufferBuilder builder;
  builder.Finish(fb::ManifestBuilder(builder).Finish());
  EXPECT_TRUE(
      fails_with(Code::corrupt, decode_manifest(wrap_body(bytes_of(builder).view(), {}).view())));
}

TEST(HostileManifestTest, ColumnsOfDifferentLengths) {
  const auto uneven = [](auto member) {
    for (const bool longer : {false, true}) {
      CraftedBody columns = sample_columns();
      auto& column = columns.*member;
      ASSERT_FALSE(column.empty());
      if (longer) {
        column.push_back(column.back());
      } else {
        column.pop_back();
      }
      EXPECT_TRUE(fails_with(Code::corrupt, decode_columns(columns)));
    }
  };
  uneven(&CraftedBody::parents);
  uneven(&CraftedBody::name_lengths);
  uneven(&CraftedBody::names);
  uneven(&CraftedBody::modes);
  uneven(&CraftedBody::owner_indices);
  uneven(&CraftedBody::mtimes_ns);
  uneven(&CraftedBody::targets);
  uneven(&CraftedBody::devices);
  uneven(&CraftedBody::file_contents);
  uneven(&CraftedBody::content_digests);
  uneven(&CraftedBody::content_sizes);
  uneven(&CraftedBody::content_extents);
  uneven(&CraftedBody::extent_file_offsets);
  uneven(&CraftedBody::extent_chunks);
  uneven(&CraftedBody::extent_chunk_offsets);
  uneven(&CraftedBody::extent_lengths);
  uneven(&CraftedBody::chunk_digests);
  uneven(&CraftedBody::chunk_packs);
  uneven(&CraftedBody::chunk_offsets);
  uneven(&CraftedBody::chunk_stored);
  uneven(&CraftedBody::chunk_sizes);
  uneven(&CraftedBody::chunk_codecs);
  uneven(&CraftedBody::chunk_kinds);
}

TEST(HostileManifestTest, IndicesAndSparseColumns) {
  EXPECT_TRUE(is_ok(decode_changed([](CraftedBody&) {})));
  const std::pair<const char*, std::function<void(CraftedBody&)>> changes[] = {
      {"owner", [](CraftedBody& c) { c.owner_indices[3] = 13; }},
      {"no owners", [](CraftedBody& c) { c.owners.clear(); }},
      {"owners over the cap", [](CraftedBody& c) { c.owners.resize(limits::kOwners + 1); }},
      {"link's node", [](CraftedBody& c) { c.links.emplace_back(13, 0); }},
      {"link's value", [](CraftedBody& c) { c.links[0] = fb::NodeRef(4, UINT32_MAX); }},
      {"links out of order", [](CraftedBody& c) { std::swap(c.links[0], c.links[1]); }},
      {"link twice", [](CraftedBody& c) { c.links.insert(c.links.begin(), c.links[0]); }},
      {"link less", [](CraftedBody& c) { c.links.pop_back(); }},
      {"attributes' node", [](CraftedBody& c) { c.xattr_refs.emplace_back(13, 0); }},
      {"attributes' value", [](CraftedBody& c) { c.xattr_refs[0] = fb::NodeRef(5, UINT32_MAX); }},
      {"attributes out of order",
       [](CraftedBody& c) { std::swap(c.xattr_refs[0], c.xattr_refs[1]); }},
      {"attributes twice",
       [](CraftedBody& c) { c.xattr_refs.insert(c.xattr_refs.begin(), c.xattr_refs[0]); }},
      {"device's node", [](CraftedBody& c) { c.devices[0] = fb::Device(10, 1, 3); }},
      {"devices out of order", [](CraftedBody& c) { std::swap(c.devices[0], c.devices[1]); }},
      {"count of extents", [](CraftedBody& c) { c.content_extents[0] = UINT32_MAX; }},
      {"extents left over", [](CraftedBody& c) { c.content_extents[2] = 1; }},
      {"names' lengths", [](CraftedBody& c) { c.name_lengths[1] = 255; }},
  };
  for (const auto& [what, change] : changes) {
    EXPECT_TRUE(fails_with(Code::corrupt, decode_changed(change))) << what;
  }
}

TEST(HostileManifestTest, AnAttributeWithoutValueOrName) {
  const auto attribute = [](bool with_name) {
    return decode_with([with_name](FlatBufferBuilder& builder) {
      const auto name = with_name ? builder.CreateString("user.a") : 0;
      const std::vector<Offset<fb::Xattr>> xattrs = {fb::CreateXattr(builder, name, 0)};
      const auto sets = builder.CreateVector(
          std::vector<Offset<fb::XattrSet>>{fb::CreateXattrSetDirect(builder, &xattrs)});
      return [sets](fb::ManifestBuilder& table) { table.add_xattr_sets(sets); };
    });
  };
  const auto named = attribute(true);
  ASSERT_TRUE(is_ok(named));
  EXPECT_EQ(named->tree.xattr_sets[0], (XattrSet{{"user.a", ""}}));
  EXPECT_TRUE(fails_with(Code::corrupt, attribute(false)));
}

// FlatBuffers' verifier lets 8-byte elements lie at any multiple of 4.
TEST(HostileManifestTest, MisalignedColumns) {
  int refused = 0;
  for (const int shift : {0, 1}) {
    const auto decoded = decode_with([shift](FlatBufferBuilder& builder) {
      const auto digests = builder.CreateVectorOfStructs(std::vector<fb::Digest>(1));
      const auto extents = builder.CreateVector(std::vector<uint32_t>{0});
      for (int i = 0; i < shift; ++i) builder.CreateVector(std::vector<uint32_t>{});
      builder.StartVector(2, sizeof(uint32_t));
      builder.PushElement(uint32_t{0});
      builder.PushElement(uint32_t{0});
      const Offset<flatbuffers::Vector<uint64_t>> sizes(builder.EndVector(1));
      return [=](fb::ManifestBuilder& table) {
        table.add_content_digests(digests);
        table.add_content_extents(extents);
        table.add_content_sizes(sizes);
      };
    });
    if (!decoded) ++refused;
  }
  EXPECT_EQ(refused, 1);
}

// An object of 70 KiB whose body claims, and holds, 2 GiB of zeros.
TEST(HostileManifestTest, CompressionBombsAreRefusedBeforeTheyUnfold) {
  const std::vector<uint8_t> zeros(64 * limits::kMiB);
  const ByteVector frame = compress(zeros);
  ByteVector stored;
  uint64_t body_bytes = 0;
  for (int i = 0; i < 31; ++i) {
    stored.append(frame.view());
    body_bytes += zeros.size();
  }
  ASSERT_LT(stored.size(), 300'000U);
  EXPECT_TRUE(fails_with(Code::corrupt,
                         decode_manifest(wrap_stored(stored.view(), body_bytes, {}).view())));
}

// Frames that claim a length which they have not.
TEST(HostileManifestTest, FramesThatLie) {
  ByteVector stored;
  for (int i = 0; i < 3'000; ++i) {
    // A single segment of 8 bytes of length field, and one empty last block.
    append_le(stored, uint32_t{ZSTD_MAGICNUMBER});
    append_le(stored, uint8_t{0xe0});
    append_le(stored, uint64_t{8192});
    stored.append(as_bytes(std::string_view("\1\0\0", 3)));
  }
  EXPECT_TRUE(fails_with(Code::corrupt,
                         decode_manifest(wrap_stored(stored.view(), 8192 * 3'000, {}).view())));
}

TEST(HostileManifestTest, ManyOffsetsToOneTarget) {
  constexpr uint32_t kLinks = 20'000;
  const auto decode_links = [](bool shared) {
    FlatBufferBuilder builder;
    std::vector<uint8_t> names;
    std::vector<Offset<flatbuffers::String>> targets;
    const std::string text(shared ? 4095 : 10, 't');
    targets.push_back(builder.CreateString(text));
    for (uint32_t i = 0; i < kLinks; ++i) {
      const std::string name = std::to_string(100'000 + i);
      names.insert(names.end(), name.begin(), name.end());
      if (i > 0) targets.push_back(shared ? targets[0] : builder.CreateString(text));
    }
    std::vector<uint8_t> name_lengths(kLinks + 1, 6);
    std::vector<uint16_t> modes(kLinks + 1, S_IFLNK | 0777);
    name_lengths[0] = 0;
    modes[0] = S_IFDIR | 0755;
    const std::vector<uint32_t> parents(kLinks + 1);
    const std::vector<uint16_t> owner_indices(kLinks + 1);
    const std::vector<int64_t> mtimes(kLinks + 1);
    const std::vector<fb::Owner> owners(1);
    builder.Finish(fb::CreateManifestDirect(builder, &parents, &name_lengths, &names, &modes,
                                            &owner_indices, &mtimes, &owners, nullptr, nullptr,
                                            &targets));
    return decode_manifest(wrap_body(bytes_of(builder).view(), {}).view());
  };
  EXPECT_TRUE(is_ok(decode_links(false)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_links(true)));
}

TEST(HostileManifestTest, ManyOffsetsToOneAttributeSet) {
  const auto decode_sets = [](size_t sets, size_t attributes, size_t value_bytes) {
    return decode_with([=](FlatBufferBuilder& builder) {
      const auto value = builder.CreateVector(std::vector<uint8_t>(value_bytes));
      const auto name = builder.CreateString("user.a");
      const std::vector<Offset<fb::Xattr>> xattrs(attributes,
                                                  fb::CreateXattr(builder, name, value));
      const auto set = fb::CreateXattrSetDirect(builder, &xattrs);
      const auto all = builder.CreateVector(std::vector<Offset<fb::XattrSet>>(sets, set));
      return [all](fb::ManifestBuilder& table) { table.add_xattr_sets(all); };
    });
  };
  EXPECT_TRUE(is_ok(decode_sets(1, 1, 100)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_sets(10'000, 1, 100'000)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_sets(1, 10'000, 100'000)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_sets(100'000, 100'000, 0)));
  EXPECT_TRUE(fails_with(Code::corrupt, decode_sets(100'000, 0, 0)));
}

// Each column leads to the same bytes: what is decoded stays in proportion, and obeys the rules.
TEST(HostileManifestTest, ColumnsThatShareTheirBytes) {
  FlatBufferBuilder builder;
  builder.ForceVectorAlignment(100'000, sizeof(uint32_t), 8);
  const auto zeros = builder.CreateVector(std::vector<uint32_t>(100'000));
  const auto as = [&](auto* column) {
    return Offset<std::remove_pointer_t<decltype(column)>>(zeros.o);
  };
  fb::ManifestBuilder table(builder);
  table.add_parents(as(static_cast<flatbuffers::Vector<uint32_t>*>(nullptr)));
  table.add_name_lengths(as(static_cast<flatbuffers::Vector<uint8_t>*>(nullptr)));
  table.add_modes(as(static_cast<flatbuffers::Vector<uint16_t>*>(nullptr)));
  table.add_owner_indices(as(static_cast<flatbuffers::Vector<uint16_t>*>(nullptr)));
  table.add_extent_chunks(as(static_cast<flatbuffers::Vector<uint32_t>*>(nullptr)));
  table.add_chunk_packs(as(static_cast<flatbuffers::Vector<uint32_t>*>(nullptr)));
  builder.Finish(table.Finish());
  EXPECT_TRUE(
      fails_with(Code::corrupt, decode_manifest(wrap_body(bytes_of(builder).view(), {}).view())));
}

}  // namespace
}  // namespace thaw::test
