#include "snapshot/layout_builder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "base/bytes.h"
#include "snapshot/fetch_plan.h"
#include "support/sample_manifest.h"

namespace thaw {
namespace {

constexpr uint32_t kFileBytes = 1000;

Content content_number(uint32_t number) {
  return {sha256(as_bytes("content " + std::to_string(number))), kFileBytes};
}

// A snapshot of files of kFileBytes each, in bundles of `per_bundle`, in packs of `per_pack`
// bundles.
Manifest bundled(uint32_t files, uint32_t per_bundle, uint32_t per_pack) {
  Manifest manifest;
  manifest.tree = test::empty_tree();
  for (uint32_t i = 0; i < files; ++i) {
    char name[16];
    snprintf(name, sizeof name, "%08u", i);
    test::add_node(manifest.tree, 0, name, S_IFREG | 0644, i);
    manifest.tree.contents.push_back(content_number(i));
    if (i % (per_bundle * per_pack) == 0) {
      manifest.layout.packs.push_back({RandomId::fresh(), 64 * 1024 * 1024, 0});
    }
    if (i % per_bundle == 0) {
      ChunkPlace chunk;
      chunk.digest = sha256(as_bytes("bundle " + std::to_string(i)));
      chunk.pack = static_cast<uint32_t>(manifest.layout.packs.size() - 1);
      // Far apart, so that each bundle is a fetch of its own.
      chunk.offset = (i / per_bundle % per_pack) * 1024 * 1024;
      chunk.stored_bytes = per_bundle * kFileBytes;
      chunk.content_bytes = per_bundle * kFileBytes;
      chunk.kind = ChunkKind::bundle;
      manifest.layout.chunks.push_back(chunk);
    }
    manifest.layout.contents.push_back({i, 1});
    manifest.layout.extents.push_back({0, static_cast<uint32_t>(manifest.layout.chunks.size() - 1),
                                       (i % per_bundle) * kFileBytes, kFileBytes});
  }
  return manifest;
}

std::vector<BaseSnapshot> base_of(Manifest manifest) {
  std::vector<BaseSnapshot> bases;
  bases.emplace_back(std::move(manifest));
  return bases;
}

TEST(LayoutBuilder, WhatABaseHasStaysWhereItLies) {
  const auto bases = base_of(bundled(8, 4, 1));
  LayoutBuilder builder(bases);
  EXPECT_TRUE(builder.base_has(content_number(3)));
  EXPECT_FALSE(builder.base_has(content_number(99)));
  const auto claim = builder.claim_content(content_number(3));
  EXPECT_FALSE(claim.lay_down);
  EXPECT_TRUE(builder.give_up({}).empty() == false)
      << "one file of four keeps a bundle at a quarter";
}

TEST(LayoutBuilder, AContentIsLaidDownByTheFirstWhoClaimsIt) {
  const std::vector<BaseSnapshot> none;
  LayoutBuilder builder(none);
  const auto first = builder.claim_content(content_number(1));
  const auto second = builder.claim_content(content_number(1));
  EXPECT_TRUE(first.lay_down);
  EXPECT_FALSE(second.lay_down);
  EXPECT_EQ(first.content, second.content);
}

TEST(LayoutBuilder, SameDigestOfAnotherSizeIsAnotherContent) {
  const std::vector<BaseSnapshot> none;
  LayoutBuilder builder(none);
  Content other = content_number(1);
  other.size_bytes = 7;
  EXPECT_NE(builder.claim_content(content_number(1)).content, builder.claim_content(other).content);
}

TEST(LayoutBuilder, ABundleOfWhichHalfIsAliveStays) {
  const auto bases = base_of(bundled(8, 4, 1));
  LayoutBuilder builder(bases);
  for (const uint32_t number : {0U, 1U, 4U, 5U, 6U}) builder.claim_content(content_number(number));
  EXPECT_TRUE(builder.give_up({}).empty());
}

TEST(LayoutBuilder, ABundleThatIsMostlyDeadIsGivenUpAndClaimedAnew) {
  const auto bases = base_of(bundled(8, 4, 1));
  LayoutBuilder builder(bases);
  const uint32_t lonely = builder.claim_content(content_number(0)).content;
  for (const uint32_t number : {4U, 5U, 6U, 7U}) builder.claim_content(content_number(number));
  EXPECT_EQ(builder.give_up({}), std::vector<uint32_t>{lonely});
  const auto again = builder.claim_content(content_number(0));
  EXPECT_EQ(again.content, lonely);
  EXPECT_TRUE(again.lay_down);
  EXPECT_FALSE(builder.claim_content(content_number(0)).lay_down) << "only one lays it down";

  const uint32_t chunk = builder.add_bundle();
  ChunkPlace place;
  place.kind = ChunkKind::bundle;
  place.stored_bytes = place.content_bytes = kFileBytes;
  builder.place_chunk(chunk, place);
  builder.place_in_bundle(lonely, chunk, 0);
  const std::vector<PackRef> own = {{RandomId::fresh(), 5000, 0}};
  const Layout layout = builder.finish(own);
  // The dead bundle is no longer part of it.
  EXPECT_EQ(layout.chunks.size(), 2U);
  EXPECT_EQ(layout.packs.size(), 2U);
  EXPECT_EQ(layout.packs[layout.chunks[layout.extents_of(lonely)[0].chunk].pack].id, own[0].id);
}

TEST(LayoutBuilder, ManyTinyPacksAreGivenUpDownToHalfTheBound) {
  // 100 packs of one bundle: 100 fetches for 400 kB, where 16 + 4 are allowed.
  const auto bases = base_of(bundled(400, 4, 1));
  LayoutBuilder builder(bases);
  for (uint32_t i = 0; i < 400; ++i) builder.claim_content(content_number(i));
  const auto again = builder.give_up({});
  EXPECT_EQ(again.size(), 4U * 90);
}

TEST(LayoutBuilder, FewPacksStayHoweverSmall) {
  const auto bases = base_of(bundled(64, 4, 1));
  LayoutBuilder builder(bases);
  for (uint32_t i = 0; i < 64; ++i) builder.claim_content(content_number(i));
  EXPECT_TRUE(builder.give_up({}).empty());
}

TEST(LayoutBuilder, WholeChunksOfBasesAreUsedUntilTheirPackIsGivenUp) {
  Manifest manifest = bundled(4, 4, 1);
  ChunkPlace whole;
  whole.digest = sha256(as_bytes("a chunk"));
  whole.offset = 8 * 1024 * 1024;
  whole.stored_bytes = whole.content_bytes = 5000;
  manifest.layout.chunks.push_back(whole);
  const auto bases = base_of(std::move(manifest));
  LayoutBuilder builder(bases);
  EXPECT_FALSE(builder.claim_whole_chunk(whole.digest).lay_down);
  const auto fresh = builder.claim_whole_chunk(sha256(as_bytes("another")));
  EXPECT_TRUE(fresh.lay_down);
  EXPECT_FALSE(builder.claim_whole_chunk(sha256(as_bytes("another"))).lay_down);
}

// Parts of a chunk of an image may be dead for long: the budget of its windows bounds that.
TEST(LayoutBuilder, AWholeChunkIsNotGivenUpForItsDeadParts) {
  Manifest manifest = bundled(4, 4, 1);
  ChunkPlace whole;
  whole.digest = sha256(as_bytes("a window"));
  whole.offset = 8 * 1024 * 1024;
  whole.stored_bytes = whole.content_bytes = 500'000;
  manifest.layout.chunks.push_back(whole);
  const auto bases = base_of(std::move(manifest));
  LayoutBuilder builder(bases);
  EXPECT_TRUE(builder.base_gives(0, 1));
  const auto chunk = builder.claim_base_chunk(0, 1);
  ASSERT_TRUE(chunk);
  EXPECT_EQ(builder.claim_base_chunk(0, 1), chunk);
  EXPECT_EQ(builder.claim_whole_chunk(whole.digest).chunk, *chunk);
  const auto image = builder.claim_content({sha256(as_bytes("an image")), 1'000'000});
  EXPECT_TRUE(image.lay_down);
  builder.place_extents(image.content, {{4096, *chunk, 8192, 4096}});
  EXPECT_TRUE(builder.give_up({}).empty());
  const Layout layout = builder.finish({});
  ASSERT_EQ(layout.chunks.size(), 1U);
  EXPECT_EQ(layout.chunks[0].digest, whole.digest);
  EXPECT_EQ(layout.extents_of(image.content)[0].chunk_offset, 8192U);
}

TEST(LayoutBuilder, AChunkOfABaseThatWasGivenUpIsNotClaimedThere) {
  Manifest manifest = bundled(400, 4, 1);
  ChunkPlace whole;
  whole.digest = sha256(as_bytes("a window"));
  whole.offset = 8 * 1024 * 1024;
  whole.stored_bytes = whole.content_bytes = 1000;
  const auto number = static_cast<uint32_t>(manifest.layout.chunks.size());
  manifest.layout.chunks.push_back(whole);
  const auto bases = base_of(std::move(manifest));
  LayoutBuilder builder(bases);
  for (uint32_t i = 0; i < 400; ++i) builder.claim_content(content_number(i));
  const auto chunk = builder.claim_base_chunk(0, number);
  ASSERT_TRUE(chunk);
  const auto image = builder.claim_content({sha256(as_bytes("an image")), 1'000'000});
  builder.place_extents(image.content, {{0, *chunk, 0, 1000}});
  // A hundred tiny packs: the one with the window's chunk gives least of all.
  // Of a hundred tiny packs the one with the window's chunk gives least for each request.
  const auto again = builder.give_up({});
  EXPECT_NE(std::find(again.begin(), again.end(), image.content), again.end());
  EXPECT_FALSE(builder.base_gives(0, number));
  EXPECT_FALSE(builder.claim_base_chunk(0, number));
  EXPECT_TRUE(builder.claim_whole_chunk(whole.digest).lay_down);
}

TEST(FetchPlan, JoinsNeighboursWithinTheGapAndNoFurther) {
  Manifest manifest = bundled(12, 4, 3);
  manifest.layout.chunks[0].offset = 8;
  manifest.layout.chunks[1].offset = 8 + 4 * kFileBytes + kFetchGapBytes;
  manifest.layout.chunks[2].offset =
      manifest.layout.chunks[1].offset + 4 * kFileBytes + kFetchGapBytes + 1;
  const FetchPlan plan(manifest, std::vector<uint8_t>(12, 1));
  ASSERT_EQ(plan.ranges().size(), 2U);
  EXPECT_EQ(plan.ranges()[0].frame_count, 2U);
  EXPECT_EQ(plan.ranges()[0].offset, 8U);
  EXPECT_EQ(plan.ranges()[0].length, 2 * 4 * kFileBytes + kFetchGapBytes);
  EXPECT_EQ(plan.ranges()[1].frame_count, 1U);
}

TEST(FetchPlan, FetchesOnlyWhatTheWantedContentsNeed) {
  const Manifest manifest = bundled(12, 4, 3);
  std::vector<uint8_t> wanted(12, 0);
  wanted[5] = 1;
  const FetchPlan plan(manifest, wanted);
  ASSERT_EQ(plan.ranges().size(), 1U);
  ASSERT_EQ(plan.frames(plan.ranges()[0]).size(), 1U);
  const uint32_t chunk = plan.frames(plan.ranges()[0])[0];
  EXPECT_EQ(chunk, 1U);
  ASSERT_EQ(plan.uses(chunk).size(), 1U);
  EXPECT_EQ(plan.uses(chunk)[0].content, 5U);
}

TEST(FetchPlan, AsksForAtMostTheFetchSizeAtOnce) {
  Manifest manifest = bundled(40, 1, 40);
  for (uint32_t i = 0; i < 40; ++i) {
    manifest.layout.chunks[i].offset = i * 1024 * 1024;
    manifest.layout.chunks[i].stored_bytes = 1024 * 1024;
  }
  const FetchPlan plan(manifest, std::vector<uint8_t>(40, 1));
  EXPECT_EQ(plan.ranges().size(), 5U);
  for (const FetchRange& range : plan.ranges()) EXPECT_LE(range.length, kFetchBytes);
  EXPECT_EQ(plan.fetched_bytes(), 40U * 1024 * 1024);
}

}  // namespace
}  // namespace thaw
