#include "object/metered.h"

#include <gtest/gtest.h>

#include "object/memory.h"
#include "support/faulty_store.h"

namespace thaw {
namespace {

class Metered : public ::testing::Test {
 protected:
  Buffer text(std::string_view bytes) { return Buffer::copy_of(as_bytes(bytes)); }

  test::Faults faults_;
  StoreMeter meter_;
  const std::unique_ptr<ObjectStore> store_ =
      metered(test::faulty(make_memory_store(), faults_), meter_);
  const Context context_;
  const ObjectKey key_ = *ObjectKey::parse("a");
  const ObjectKey other_ = *ObjectKey::parse("b");
};

TEST_F(Metered, CountsRequestsAndBytes) {
  ASSERT_TRUE(store_->put(context_, key_, text("0123456789"), PutMode::overwrite));
  ASSERT_TRUE(store_->put(context_, key_, text("not stored"), PutMode::create));
  ASSERT_TRUE(store_->get(context_, key_, ByteRange::of(2, 3), Freshness::any));
  ASSERT_TRUE(store_->get(context_, key_, ByteRange::last(4), Freshness::any));
  ASSERT_TRUE(store_->find(context_, key_));
  ASSERT_TRUE(store_->list(context_, "", {}));
  const ObjectKey both[] = {key_, other_};
  ASSERT_TRUE(store_->remove(context_, both));
  EXPECT_EQ(meter_.puts, 2U);
  EXPECT_EQ(meter_.gets, 2U);
  EXPECT_EQ(meter_.finds, 1U);
  EXPECT_EQ(meter_.lists, 1U);
  EXPECT_EQ(meter_.removes, 1U);
  EXPECT_EQ(meter_.requests(), 7U);
  EXPECT_EQ(meter_.stored_bytes, 10U);
  EXPECT_EQ(meter_.fetched_bytes, 7U);
  EXPECT_EQ(meter_.errors, 0U);
}

TEST_F(Metered, AbsenceIsNoError) {
  EXPECT_FALSE(store_->get(context_, key_, ByteRange::whole(), Freshness::any));
  EXPECT_TRUE(store_->find(context_, key_));
  EXPECT_EQ(meter_.errors, 0U);
  EXPECT_EQ(meter_.requests(), 2U);
}

TEST_F(Metered, CountsErrorsAsRequestsToo) {
  faults_.fail_all(Error(Code::denied, "scripted"));
  EXPECT_FALSE(store_->get(context_, key_, ByteRange::whole(), Freshness::any));
  EXPECT_FALSE(store_->put(context_, key_, text("x"), PutMode::create));
  EXPECT_FALSE(store_->find(context_, key_));
  EXPECT_FALSE(store_->list(context_, "", {}));
  EXPECT_FALSE(store_->remove(context_, {}));
  EXPECT_EQ(meter_.errors, 5U);
  EXPECT_EQ(meter_.requests(), 5U);
  EXPECT_EQ(meter_.stored_bytes + meter_.fetched_bytes, 0U);
}

TEST_F(Metered, DescribesTheStack) {
  EXPECT_EQ(store_->describe(), "metered over faulty over memory");
}

}  // namespace
}  // namespace thaw
