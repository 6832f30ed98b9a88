#include "object/upload.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "object/memory.h"

namespace thaw {
namespace {

// Keeps parts in memory; fails where it is told to.
class Parts final : public MultipartStore {
 public:
  explicit Parts(ObjectStore& store) : store_(store) {}

  Result<UploadId> begin(const Context& context, const ObjectKey& /*key*/) override {
    // The server has begun it, and its answer is on the way.
    if (stop_at_begin != nullptr) stop_at_begin->stop();
    THAW_CHECK(context.alive());
    const std::lock_guard lock(mutex_);
    ++begun;
    return UploadId{"id", "nonce"};
  }
  Result<UploadedPart> put_part(const Context& context, const ObjectKey& /*key*/,
                                const UploadId& /*upload*/, uint32_t number,
                                Buffer bytes) override {
    THAW_CHECK(context.alive());
    const std::lock_guard lock(mutex_);
    if (number == fail_part) return Error(Code::denied, "no");
    parts[number] = std::move(bytes);
    return UploadedPart{number, std::to_string(number)};
  }
  Result<> complete(const Context& context, const ObjectKey& key, const UploadId& /*upload*/,
                    const std::vector<UploadedPart>& listed) override {
    std::string whole;
    uint32_t expected = 1;
    for (const UploadedPart& part : listed) {
      EXPECT_EQ(part.number, expected++);
      whole += as_text(parts.at(part.number).view());
    }
    if (fail_complete) return Error(Code::unavailable, "no answer");
    parts.clear();
    auto put = store_.put(context, key, Buffer(whole), PutMode::overwrite);
    if (!put) return std::move(put).error();
    return {};
  }
  Result<> abort(const Context& /*context*/, const ObjectKey& /*key*/,
                 const UploadId& /*upload*/) override {
    ++aborted;
    parts.clear();
    return {};
  }

  std::mutex mutex_;
  std::map<uint32_t, Buffer> parts;
  int begun = 0;
  int aborted = 0;
  uint32_t fail_part = 0;
  bool fail_complete = false;
  StopFlag* stop_at_begin = nullptr;

 private:
  ObjectStore& store_;
};

class UploadTest : public testing::Test {
 protected:
  std::string stored() {
    auto got = store_->get(context_, key_, ByteRange::whole(), Freshness::any);
    return got ? std::string(as_text(got->bytes.view())) : "(none)";
  }
  const Context context_;
  const std::unique_ptr<ObjectStore> store_ = make_memory_store();
  Parts parts_{*store_};
  const ObjectKey key_ = *ObjectKey::parse("a/b");
};

TEST_F(UploadTest, WhatFitsIntoOnePartIsOnePut) {
  for (const size_t size : {size_t{0}, size_t{5}, size_t{8} << 20}) {
    Upload upload(context_, *store_, parts_, key_, 2);
    ASSERT_TRUE(upload.append(as_bytes(std::string(size, 'x'))));
    ASSERT_TRUE(upload.finish());
    EXPECT_EQ(stored().size(), size);
  }
  EXPECT_EQ(parts_.begun, 0);
}

TEST_F(UploadTest, LargerOnesGoInParts) {
  std::string text;
  for (int i = 0; i < 3'000'000; ++i) text += std::to_string(i);
  Upload upload(context_, *store_, parts_, key_, 3);
  for (size_t at = 0; at < text.size(); at += 1'000'003) {
    ASSERT_TRUE(upload.append(as_bytes(std::string_view(text).substr(at, 1'000'003))));
    EXPECT_EQ(stored(), "(none)");
  }
  ASSERT_TRUE(upload.finish());
  EXPECT_TRUE(stored() == text);
  EXPECT_EQ(parts_.begun, 1);
  EXPECT_EQ(upload.appended_bytes(), text.size());
}

TEST_F(UploadTest, WhoStopsWhileItBeginsLeavesNoUpload) {
  StopFlag stop;
  const Context context(stop);
  parts_.stop_at_begin = &stop;
  Upload upload(context, *store_, parts_, key_, 2);
  const Result<> done = upload.append(as_bytes(std::string(20 << 20, 'x')));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), Code::cancelled);
  EXPECT_EQ(parts_.begun, 1);
  ASSERT_TRUE(upload.abandon(context_));
  EXPECT_EQ(parts_.aborted, 1);
}

TEST_F(UploadTest, AFailedPartEndsItAndNothingStays) {
  parts_.fail_part = 2;
  Upload upload(context_, *store_, parts_, key_, 2);
  const std::string text(40 << 20, 'x');
  Result<> done = upload.append(as_bytes(text));
  if (done) done = upload.finish();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), Code::denied);
  ASSERT_TRUE(upload.abandon(context_));
  ASSERT_TRUE(upload.abandon(context_));
  EXPECT_EQ(parts_.aborted, 1);
  EXPECT_TRUE(parts_.parts.empty());
  EXPECT_EQ(stored(), "(none)");
}

TEST_F(UploadTest, AFailedEndIsAbandonedToo) {
  parts_.fail_complete = true;
  Upload upload(context_, *store_, parts_, key_, 2);
  ASSERT_TRUE(upload.append(as_bytes(std::string(20 << 20, 'x'))));
  EXPECT_FALSE(upload.finish());
  ASSERT_TRUE(upload.abandon(context_));
  EXPECT_EQ(parts_.aborted, 1);
}

TEST_F(UploadTest, StopsWithItsContext) {
  StopFlag stop;
  const Context context(stop);
  Upload upload(context, *store_, parts_, key_, 2);
  ASSERT_TRUE(upload.append(as_bytes(std::string(20 << 20, 'x'))));
  stop.stop();
  EXPECT_FALSE(upload.finish());
  ASSERT_TRUE(upload.abandon(Context()));
  EXPECT_EQ(parts_.aborted, 1);
  EXPECT_EQ(stored(), "(none)");
}

}  // namespace
}  // namespace thaw
