#include "object/tier_marker.h"

#include <gtest/gtest.h>

#include "format/tier_block.h"
#include "object/memory.h"
#include "support/faulty_store.h"
#include "support/result_check.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;

class TierMarker : public ::testing::Test {
 protected:
  void put(const std::string& name, const std::string& text) {
    ASSERT_TRUE(
        is_ok(fast_->put(context_, *ObjectKey::parse(name), Buffer(text), PutMode::overwrite)));
  }

  test::Faults faults_;
  const std::unique_ptr<ObjectStore> fast_ = test::faulty(make_memory_store(), faults_);
  const Context context_;
};

TEST_F(TierMarker, AnEmptyPlaceBecomesATier) {
  const auto before = check_tier(context_, *fast_);
  ASSERT_TRUE(is_ok(before));
  EXPECT_FALSE(*before);
  ASSERT_TRUE(is_ok(mark_tier(context_, *fast_)));
  ASSERT_TRUE(is_ok(mark_tier(context_, *fast_)));
  const auto after = check_tier(context_, *fast_);
  ASSERT_TRUE(is_ok(after));
  EXPECT_TRUE(*after);
}

TEST_F(TierMarker, APlaceWithOtherThingsIsRefused) {
  put("photos/cat.jpg", "meow");
  const auto checked = check_tier(context_, *fast_);
  ASSERT_TRUE(fails_with(Code::invalid, checked));
  EXPECT_NE(checked.error().text().find("photos/cat.jpg"), std::string::npos);
}

TEST_F(TierMarker, ATierThatLostItsMarkerIsOne) {
  put("blocks/0123456789abcdef/packs/00/x/@/once-4096/0", "block");
  put("claims", "");
  put("index.sqlite", "");
  const auto lost = check_tier(context_, *fast_);
  ASSERT_TRUE(is_ok(lost));
  EXPECT_FALSE(*lost);
}

TEST_F(TierMarker, ATierThatLostAllButItsIndexIsOne) {
  put("index.sqlite", "");
  put("index.sqlite-wal", "");
  const auto lost = check_tier(context_, *fast_);
  ASSERT_TRUE(is_ok(lost));
  EXPECT_FALSE(*lost);
}

TEST_F(TierMarker, AMarkerThatComesBetweenIsOne) {
  // Its get meets an empty place, its list one that another process has made a tier.
  faults_.fail(test::Verb::get, 1, test::When::before, Error(Code::not_found, "not yet"));
  ASSERT_TRUE(is_ok(mark_tier(context_, *fast_)));
  const auto checked = check_tier(context_, *fast_);
  ASSERT_TRUE(is_ok(checked));
  EXPECT_FALSE(*checked);
  EXPECT_TRUE(is_ok(mark_tier(context_, *fast_)));
}

TEST_F(TierMarker, BlocksOfSomethingElseAreRefused) {
  for (const char* name : {"blocks/wood", "blocks/0123456789abcde/x", "blocks/0123456789abcdef0/x",
                           "blocks/0123456789ABCDEF/x", "blocks/0123456789abcdef", "claimsx"}) {
    put(name, "mine");
    EXPECT_TRUE(fails_with(Code::invalid, check_tier(context_, *fast_))) << name;
    const auto key = *ObjectKey::parse(name);
    ASSERT_TRUE(is_ok(fast_->remove(context_, std::span(&key, 1))));
  }
}

TEST_F(TierMarker, AnotherFormatIsRefused) {
  put(std::string(kTierMarkerName), "{\"kind\":\"thaw-tier\",\"format\":2}");
  EXPECT_TRUE(fails_with(Code::invalid, check_tier(context_, *fast_)));
  put(std::string(kTierMarkerName), "what is this");
  EXPECT_TRUE(fails_with(Code::invalid, check_tier(context_, *fast_)));
}

TEST_F(TierMarker, AStoreThatFailsIsNoAnswer) {
  faults_.fail_all(Error(Code::unavailable, "scripted"));
  EXPECT_TRUE(fails_with(Code::unavailable, check_tier(context_, *fast_)));
  EXPECT_TRUE(fails_with(Code::unavailable, mark_tier(context_, *fast_)));
}

}  // namespace
}  // namespace thaw
