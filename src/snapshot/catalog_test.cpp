#include "snapshot/catalog.h"

#include <gtest/gtest.h>

#include <thread>

#include "object/memory.h"
#include "object/retrying.h"
#include "support/faulty_store.h"
#include "support/result_check.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;

Entry entry_for(const std::string& key) {
  Entry entry;
  entry.key = key;
  entry.nonce = RandomId::fresh();
  entry.manifest = ManifestRef{RandomId::fresh(), 1, {}};
  return entry;
}

class CatalogTest : public ::testing::Test {
 protected:
  const Context context_;
  const Key key_ = *Key::parse("site/shop");
  test::Faults faults_;
  // As in production: a lost answer is asked for again.
  std::unique_ptr<ObjectStore> store_ = retrying(test::faulty(make_memory_store(), faults_),
                                                 {.attempts = 3,
                                                  .base_ms = std::chrono::milliseconds(0),
                                                  .cap_ms = std::chrono::milliseconds(0)});
};

TEST_F(CatalogTest, GenerationsCountUpAndTheNewestIsFound) {
  for (uint64_t n = 1; n <= 12; ++n) {
    const auto number = publish(context_, *store_, entry_for("site/shop"));
    ASSERT_TRUE(is_ok(number));
    EXPECT_EQ(*number, n);
  }
  const auto newest = find_newest(context_, *store_, key_);
  ASSERT_TRUE(is_ok(newest));
  EXPECT_EQ((*newest)->generation, 12U);
}

TEST_F(CatalogTest, AWarmLookUpAsksTwice) {
  ASSERT_TRUE(is_ok(publish(context_, *store_, entry_for("site/shop"))));
  const uint64_t lists = faults_.calls(test::Verb::list);
  const uint64_t gets = faults_.calls(test::Verb::get);
  ASSERT_TRUE(is_ok(find_newest(context_, *store_, key_)));
  EXPECT_EQ(faults_.calls(test::Verb::list) - lists, 1U);
  EXPECT_EQ(faults_.calls(test::Verb::get) - gets, 1U);
}

TEST_F(CatalogTest, APutWhoseAnswerIsLostPublishesOnce) {
  faults_.fail(test::Verb::put, 1, test::When::after,
               Error(Code::unavailable, "the answer is lost"));
  const auto number = publish(context_, *store_, entry_for("site/shop"));
  ASSERT_TRUE(is_ok(number));
  EXPECT_EQ(*number, 1U);
  EXPECT_EQ(generations_of(context_, *store_, key_)->size(), 1U);
}

TEST_F(CatalogTest, RacingSaversAllPublish) {
  constexpr int kSavers = 8;
  std::vector<std::thread> savers;
  std::vector<uint64_t> numbers(kSavers, 0);
  for (int i = 0; i < kSavers; ++i) {
    savers.emplace_back([&, i] {
      const auto number = publish(context_, *store_, entry_for("site/shop"));
      if (number) numbers[static_cast<size_t>(i)] = *number;
    });
  }
  for (auto& saver : savers) saver.join();
  std::sort(numbers.begin(), numbers.end());
  for (uint64_t n = 1; n <= kSavers; ++n) EXPECT_EQ(numbers[n - 1], n);
}

TEST_F(CatalogTest, ARemovedNumberIsNeverUsedAgain) {
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(is_ok(publish(context_, *store_, entry_for("site/shop"))));
  EXPECT_TRUE(*retire(context_, *store_, key_, 3));
  EXPECT_FALSE(*retire(context_, *store_, key_, 3)) << "it is gone already";
  EXPECT_EQ((*find_newest(context_, *store_, key_))->generation, 2U);
  EXPECT_EQ(*find_generation(context_, *store_, key_, 3), std::nullopt);
  EXPECT_EQ(*publish(context_, *store_, entry_for("site/shop")), 4U);
}

TEST_F(CatalogTest, TheNewestIsFoundBehindManyTombstones) {
  for (int i = 0; i < 120; ++i)
    ASSERT_TRUE(is_ok(publish(context_, *store_, entry_for("site/shop"))));
  for (uint64_t n = 2; n <= 120; ++n) ASSERT_TRUE(*retire(context_, *store_, key_, n));
  EXPECT_EQ((*find_newest(context_, *store_, key_))->generation, 1U);
  ASSERT_TRUE(*retire(context_, *store_, key_, 1));
  EXPECT_FALSE(find_newest(context_, *store_, key_)->has_value());
}

TEST_F(CatalogTest, AnEntryUnderAnotherNameIsCorrupt) {
  ASSERT_TRUE(is_ok(publish(context_, *store_, entry_for("site/shop"))));
  const auto bytes = store_->get(context_, *ObjectKey::parse(entry_name(key_, 1)),
                                 ByteRange::whole(), Freshness::any);
  ASSERT_TRUE(is_ok(bytes));
  const Key other = *Key::parse("site/other");
  ASSERT_TRUE(is_ok(store_->put(context_, *ObjectKey::parse(entry_name(other, 1)), bytes->bytes,
                                PutMode::create)));
  EXPECT_TRUE(fails_with(Code::corrupt, find_newest(context_, *store_, other)));
}

TEST_F(CatalogTest, KeysAreListedByWholeSegments) {
  for (const char* key : {"build1", "build1/a", "build10", "build1.x", "other"}) {
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(is_ok(publish(context_, *store_, entry_for(key))));
  }
  const auto keys = keys_below(context_, *store_, "build1");
  ASSERT_TRUE(is_ok(keys));
  ASSERT_EQ(keys->size(), 2U);
  EXPECT_EQ((*keys)[0].text(), "build1");
  EXPECT_EQ((*keys)[1].text(), "build1/a");
  EXPECT_EQ(keys_below(context_, *store_, "")->size(), 5U);
}

TEST_F(CatalogTest, KeysBehindMoreGenerationsThanAPageAreListed) {
  for (int i = 0; i < 1500; ++i) ASSERT_TRUE(is_ok(publish(context_, *store_, entry_for("a"))));
  ASSERT_TRUE(is_ok(publish(context_, *store_, entry_for("a/b"))));
  ASSERT_TRUE(is_ok(publish(context_, *store_, entry_for("b"))));
  EXPECT_EQ(keys_below(context_, *store_, "")->size(), 3U);
}

TEST_F(CatalogTest, AnotherFormatIsRefusedAndNoMarkerIsAnEmptyStore) {
  EXPECT_FALSE(*check_store(context_, *store_));
  ASSERT_TRUE(is_ok(prepare_store(context_, *store_)));
  EXPECT_TRUE(*check_store(context_, *store_));
  ASSERT_TRUE(is_ok(prepare_store(context_, *store_)));
  ASSERT_TRUE(is_ok(store_->put(context_, *ObjectKey::parse("thaw.json"),
                                Buffer(std::string(R"({"kind":"thaw-store","format":2})")),
                                PutMode::overwrite)));
  EXPECT_TRUE(fails_with(Code::invalid, check_store(context_, *store_)));
  EXPECT_TRUE(fails_with(Code::invalid, prepare_store(context_, *store_)));
}

TEST_F(CatalogTest, AMarkerDamagedOnItsWayIsReadOnceMore) {
  test::Faults faults;
  const auto store = test::faulty(make_memory_store(), faults);
  ASSERT_TRUE(is_ok(prepare_store(context_, *store)));
  faults.change_get(1, test::with_flipped_byte(0));
  const auto there = check_store(context_, *store);
  ASSERT_TRUE(is_ok(there));
  EXPECT_TRUE(*there);
  // What is damaged both times is.
  faults.change_get(1, test::with_flipped_byte(0));
  faults.change_get(2, test::with_flipped_byte(0));
  const uint64_t before = faults.calls(test::Verb::get);
  EXPECT_TRUE(fails_with(Code::corrupt, check_store(context_, *store)));
  EXPECT_EQ(faults.calls(test::Verb::get) - before, 2U);
}

}  // namespace
}  // namespace thaw
