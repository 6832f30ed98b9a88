#include "support/faulty_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <latch>
#include <thread>

#include "object/memory.h"
#include "support/temp_dir.h"

namespace thaw::test {
namespace {

class FaultyStoreTest : public ::testing::Test {
 protected:
  Result<PutOutcome> put(std::string_view text) {
    return store_->put(context_, key_, Buffer::copy_of(as_bytes(text)), PutMode::overwrite);
  }
  std::string get() {
    const auto got = store_->get(context_, key_, ByteRange::whole(), Freshness::any);
    return got ? std::string(as_text(got->bytes.view())) : std::string(name_of(got.error().code()));
  }

  Faults faults_;
  const std::unique_ptr<ObjectStore> store_ = faulty(make_memory_store(), faults_);
  const Context context_;
  const ObjectKey key_ = *ObjectKey::parse("a");
};

TEST_F(FaultyStoreTest, FailsBeforeAndAfterTheOperation) {
  faults_.fail(Verb::put, 1, When::before, Error(Code::busy, "1"));
  faults_.fail(Verb::put, 2, When::after, Error(Code::unavailable, "2"));
  EXPECT_EQ(put("first").error().code(), Code::busy);
  EXPECT_EQ(get(), "not_found");
  EXPECT_EQ(put("second").error().code(), Code::unavailable);
  EXPECT_EQ(get(), "second") << "it took effect, the answer was lost";
  EXPECT_TRUE(put("third"));
  EXPECT_EQ(faults_.calls(Verb::put), 3U);
  faults_.fail(Verb::put, 1, When::before, Error(Code::denied, "counts from now on"));
  EXPECT_EQ(put("fourth").error().code(), Code::denied);
  EXPECT_TRUE(put("fifth"));
}

TEST_F(FaultyStoreTest, ChangesWhatIsRead) {
  ASSERT_TRUE(put("abcdef"));
  faults_.change_get(1, truncated_to(2));
  faults_.change_get(2, with_flipped_byte(1));
  EXPECT_EQ(get(), "ab");
  EXPECT_EQ(get(), "accdef");
  EXPECT_EQ(get(), "abcdef");
}

TEST_F(FaultyStoreTest, IsDownUntilItHeals) {
  faults_.fail_all(Error(Code::unavailable, "down"));
  EXPECT_FALSE(put("x"));
  EXPECT_EQ(get(), "unavailable");
  faults_.heal();
  EXPECT_TRUE(put("x"));
  EXPECT_EQ(get(), "x");
}

TEST_F(FaultyStoreTest, AHookInterleaves) {
  ASSERT_TRUE(put("old"));
  std::latch reading(1);
  std::latch written(1);
  faults_.on_call([&](const Call& call) -> Result<> {
    EXPECT_EQ(call.name, "a");
    if (call.verb == Verb::get && call.when == When::before) {
      reading.count_down();
      written.wait();
    }
    return {};
  });
  std::string seen;
  std::thread reader([&] { seen = get(); });
  reading.wait();
  EXPECT_TRUE(put("new"));
  written.count_down();
  reader.join();
  EXPECT_EQ(seen, "new");
}

TEST(TempDir, IsRemovedWithAllItHolds) {
  std::string path;
  {
    const TempDir dir;
    path = dir.path();
    write_text(dir.path_of("x"), "text");
    EXPECT_EQ(read_text(path + "/x"), "text");
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace thaw::test
