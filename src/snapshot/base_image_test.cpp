#include "snapshot/base_image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "format/pack.h"
#include "object/memory.h"
#include "snapshot/catalog.h"
#include "support/faulty_store.h"
#include "support/random_bytes.h"
#include "support/result_check.h"
#include "support/sample_manifest.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;
using test::Verb;
using test::When;

// A base with one pack of random chunks, raw, one after another.
class BaseReaderTest : public ::testing::Test {
 protected:
  void lay_down(const std::vector<size_t>& sizes) {
    Manifest manifest;
    manifest.tree = test::empty_tree();
    PackBuilder pack;
    for (const size_t size : sizes) {
      chunks_.push_back(test::random_bytes(size, chunks_.size()));
      ChunkPlace place;
      place.digest = content_digest(chunks_.back());
      place.stored_bytes = place.content_bytes = static_cast<uint32_t>(size);
      place.offset =
          pack.add({place.digest, place.stored_bytes, place.content_bytes}, chunks_.back());
      manifest.layout.chunks.push_back(place);
    }
    const Buffer object = pack.finish();
    manifest.layout.packs.push_back({RandomId::fresh(), object.size(), 0});
    pack_ = manifest.layout.packs[0].id;
    ASSERT_TRUE(is_ok(store_->put(context_, pack_object(pack_), object, PutMode::create)));
    bases_.clear();
    bases_.emplace_back(std::move(manifest));
    reader_.emplace(*store_, bases_, damage_, StoreDistance::local);
  }
  // Reads a window at 0 of these extents; what is lost comes back, the bytes are in window_.
  std::vector<uint32_t> read(const std::vector<Extent>& extents, size_t size) {
    window_.assign(size, 0xee);
    auto lost = reader_->read(context_, 0, extents, 0, window_);
    EXPECT_TRUE(is_ok(lost));
    return lost ? *lost : std::vector<uint32_t>{};
  }
  bool holds(size_t at, uint32_t chunk, size_t offset, size_t length) const {
    return std::equal(window_.begin() + static_cast<ptrdiff_t>(at),
                      window_.begin() + static_cast<ptrdiff_t>(at + length),
                      chunks_[chunk].begin() + static_cast<ptrdiff_t>(offset));
  }

  const Context context_;
  test::Faults faults_;
  std::unique_ptr<ObjectStore> store_ = test::faulty(make_memory_store(), faults_);
  const KnownDamage damage_{std::nullopt};
  std::vector<std::vector<uint8_t>> chunks_;
  RandomId pack_;
  std::vector<BaseSnapshot> bases_;
  std::optional<BaseReader> reader_;
  std::vector<uint8_t> window_;
};

TEST_F(BaseReaderTest, PutsTheWindowTogetherAndFetchesNeighboursAtOnce) {
  lay_down({5000, 3'000'000, 700});
  EXPECT_TRUE(
      read({{10, 0, 100, 50}, {100, 2, 0, 700}, {5000, 1, 2'999'000, 1000}}, 10'000).empty());
  EXPECT_TRUE(holds(10, 0, 100, 50));
  EXPECT_TRUE(holds(100, 2, 0, 700));
  EXPECT_TRUE(holds(5000, 1, 2'999'000, 1000));
  for (const size_t at : {0, 9, 60, 99, 800, 4999, 6000, 9999}) EXPECT_EQ(window_[at], 0) << at;
  EXPECT_EQ(faults_.calls(Verb::get), 1U);
}

TEST_F(BaseReaderTest, FromAfarThePiecesOfAWindowAndOfTheNextComeTogether) {
  // Too far apart for one request.
  lay_down({1000, 200'000, 1000, 200'000, 1000, 200'000, 1000});
  reader_.emplace(*store_, bases_, damage_, StoreDistance::remote);
  std::mutex mutex;
  std::condition_variable changed;
  int under_way = 0;
  int most = 0;
  faults_.on_call([&](const test::Call& call) -> Result<> {
    if (call.verb != Verb::get) return {};
    std::unique_lock lock(mutex);
    under_way += call.when == When::before ? 1 : -1;
    most = std::max(most, under_way);
    changed.notify_all();
    // One after another they would never be four.
    if (call.when == When::before)
      changed.wait_for(lock, std::chrono::seconds(20), [&] { return most >= 4; });
    return {};
  });
  const std::vector<Extent> next{{20'000, 4, 0, 1000}, {30'000, 6, 0, 1000}};
  window_.assign(10'000, 0xee);
  auto lost = reader_->read(context_, 0, {{0, 0, 0, 1000}, {5000, 2, 0, 1000}}, 0, window_, next);
  ASSERT_TRUE(is_ok(lost));
  EXPECT_TRUE(lost->empty());
  EXPECT_TRUE(holds(0, 0, 0, 1000));
  EXPECT_TRUE(holds(5000, 2, 0, 1000));
  EXPECT_EQ(most, 4);
  EXPECT_EQ(faults_.calls(Verb::get), 4U);
  EXPECT_TRUE(read({{0, 4, 0, 1000}, {1000, 6, 0, 1000}}, 10'000).empty());
  EXPECT_EQ(faults_.calls(Verb::get), 4U) << "it was fetched ahead";
}

TEST_F(BaseReaderTest, KeepsWhatItDecodedLast) {
  lay_down({2 << 20, 2 << 20, 2 << 20});
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(read({{0, 0, 0, 100}, {100, 2, 0, 100}}, 200).empty());
  }
  EXPECT_EQ(faults_.calls(Verb::get), 2U) << "two chunks, too far apart for one get, once each";
}

TEST_F(BaseReaderTest, ForgetsWhatIsOldBeyondItsBound) {
  lay_down(std::vector<size_t>(12, 2 << 20));
  for (uint32_t round = 0; round < 2; ++round) {
    for (uint32_t i = 0; i < 12; ++i) EXPECT_TRUE(read({{0, i, 0, 100}}, 100).empty());
  }
  EXPECT_EQ(faults_.calls(Verb::get), 24U);
}

TEST_F(BaseReaderTest, ReadsOnceMoreWhatCameDamaged) {
  lay_down({5000, 5000});
  faults_.change_get(1, test::with_flipped_byte(6000));
  EXPECT_TRUE(read({{0, 0, 0, 5000}, {5000, 1, 0, 5000}}, 10'000).empty());
  EXPECT_TRUE(holds(0, 0, 0, 5000));
  EXPECT_TRUE(holds(5000, 1, 0, 5000));
  EXPECT_EQ(faults_.calls(Verb::get), 2U);
}

TEST_F(BaseReaderTest, WhatIsDamagedInTheStoreIsLostAndTheRestIsNot) {
  lay_down({5000, 5000});
  faults_.change_get(1, test::with_flipped_byte(6000));
  faults_.change_get(2, test::with_flipped_byte(1000));
  EXPECT_EQ(read({{0, 0, 0, 5000}, {5000, 1, 0, 5000}}, 10'000), std::vector<uint32_t>{1});
  EXPECT_TRUE(holds(0, 0, 0, 5000));
  EXPECT_EQ(read({{0, 1, 0, 5000}}, 5000), std::vector<uint32_t>{1});
  EXPECT_EQ(faults_.calls(Verb::get), 2U) << "it is not asked for again";
}

TEST_F(BaseReaderTest, AMissingPackOrAStoreThatFailsIsNoFailure) {
  lay_down({5000});
  const ObjectKey object = pack_object(pack_);
  ASSERT_TRUE(is_ok(store_->remove(context_, {&object, 1})));
  EXPECT_EQ(read({{0, 0, 0, 5000}}, 5000), std::vector<uint32_t>{0});
  lay_down({5000});
  faults_.fail_all(Error(Code::unavailable, "down"));
  EXPECT_EQ(read({{0, 0, 0, 5000}}, 5000), std::vector<uint32_t>{0});
}

TEST_F(BaseReaderTest, ACutPackIsLost) {
  lay_down({5000, 6000});
  faults_.change_get(1, test::truncated_to(5500));
  faults_.change_get(2, test::truncated_to(5999));
  EXPECT_EQ(read({{0, 0, 0, 5000}, {5000, 1, 0, 5000}}, 10'000), std::vector<uint32_t>{1});
}

TEST_F(BaseReaderTest, AWindowOfTooManyChunksIsNotDecodedWhole) {
  lay_down(std::vector<size_t>(7, 8 << 20));
  std::vector<Extent> extents;
  for (uint32_t i = 0; i < 7; ++i) extents.push_back({i * 100, i, 0, 100});
  EXPECT_EQ(read(extents, 700), (std::vector<uint32_t>{4, 5, 6}));
}

TEST_F(BaseReaderTest, FailsWhenTheContextIsOver) {
  lay_down({5000});
  const Context over = context_.within(std::chrono::milliseconds(0));
  window_.resize(5000);
  EXPECT_TRUE(fails_with(Code::timeout, reader_->read(over, 0, {{0, 0, 0, 5000}}, 0, window_)));
}

// A tree of one file for each of these paths, of `size` bytes in chunks of 3 MiB or 2 MiB.
Manifest with_file(const std::string& folder, const std::string& name, uint64_t size,
                   uint32_t chunk_bytes, ChunkKind kind = ChunkKind::whole) {
  Manifest manifest;
  manifest.tree = test::empty_tree();
  const uint32_t parent = test::add_node(manifest.tree, 0, folder, S_IFDIR | 0755);
  test::add_node(manifest.tree, parent, name, S_IFREG | 0644, 0);
  manifest.tree.contents.push_back({sha256(as_bytes(folder + name)), size});
  ChunkPlace chunk;
  chunk.content_bytes = chunk_bytes;
  chunk.kind = kind;
  manifest.layout.chunks.push_back(chunk);
  for (uint64_t at = 0; at < size; at += chunk_bytes) {
    manifest.layout.extents.push_back(
        {at, 0, 0, static_cast<uint32_t>(std::min<uint64_t>(chunk_bytes, size - at))});
  }
  manifest.layout.contents.push_back({0, static_cast<uint32_t>(manifest.layout.extents.size())});
  return manifest;
}

TEST(ImageParents, ThePathCountsBeforeTheNameAndTheFirstBaseBeforeTheOthers) {
  std::vector<BaseSnapshot> bases;
  bases.emplace_back(with_file("a", "disk", 32 << 20, 2 << 20));
  bases.emplace_back(with_file("b", "disk", 32 << 20, 3 << 20));
  bases.emplace_back(with_file("a", "disk", 32 << 20, 3 << 20));
  const ImageParents parents(bases);
  ASSERT_TRUE(parents.find("a/disk"));
  EXPECT_EQ(parents.find("a/disk")->base, 0U);
  EXPECT_TRUE(parents.find("a/disk")->on_grid);
  ASSERT_TRUE(parents.find("b/disk"));
  EXPECT_EQ(parents.find("b/disk")->base, 1U);
  EXPECT_FALSE(parents.find("b/disk")->on_grid) << "cut elsewhere than on the grid";
  ASSERT_TRUE(parents.find("disk"));
  EXPECT_EQ(parents.find("disk")->base, 0U);
  EXPECT_FALSE(parents.find("a/disks"));
  EXPECT_FALSE(parents.find("a"));
}

TEST(ImageParents, SmallFilesAndBundlesAreNone) {
  std::vector<BaseSnapshot> bases;
  bases.emplace_back(with_file("a", "leaf", 1 << 20, 1 << 20));
  bases.emplace_back(with_file("a", "bundled", 2 << 20, 2 << 20, ChunkKind::bundle));
  bases.emplace_back(with_file("a", "small", 4 << 20, 2 << 20));
  const ImageParents parents(bases);
  EXPECT_FALSE(parents.find("a/leaf"));
  EXPECT_FALSE(parents.find("a/bundled"));
  ASSERT_TRUE(parents.find("a/small"));
  EXPECT_FALSE(parents.find("a/small")->on_grid) << "too small to tell";
}

}  // namespace
}  // namespace thaw
