#include "object/block_first.h"

#include <gmock/gmock.h>

#include <set>

#include "object/object_reader.h"
#include "support/result_check.h"
#include "support/tier_stack.h"

namespace thaw {
namespace {

using test::fails_with;
using test::is_ok;
using test::TierStack;
using test::Verb;
using ::testing::SizeIs;

constexpr size_t kBlock = 128 * 1024;

// What one process claims, and another may hold.
class SomeClaims final : public BlockClaims {
 public:
  explicit SomeClaims(std::set<std::string>& held) : held_(held) {}
  Result<std::unique_ptr<Claim>> try_claim(std::string_view block) override {
    const std::lock_guard lock(mutex_);
    if (!held_.insert(std::string(block)).second) return std::unique_ptr<Claim>();
    return std::unique_ptr<Claim>(std::make_unique<Held>(*this, std::string(block)));
  }

 private:
  struct Held final : public Claim {
    Held(SomeClaims& by, std::string what) : claims(by), block(std::move(what)) {}
    ~Held() override {
      const std::lock_guard lock(claims.mutex_);
      claims.held_.erase(block);
    }
    SomeClaims& claims;
    const std::string block;
  };
  std::mutex mutex_;
  std::set<std::string>& held_;
};

class FirstRead : public ::testing::Test {
 protected:
  FirstRead() { settle(); }
  void settle() { stack_.open(std::make_unique<SomeClaims>(held_)); }
  std::string first(const ByteRange& range) {
    return stack_.text("images/x", range, Wanted::first());
  }
  uint64_t finds() const { return stack_.slow_faults.calls(Verb::find); }

  std::set<std::string> held_;
  TierStack stack_;
};

TEST_F(FirstRead, OneGetAnswersAndSaysTheVersion) {
  const std::string text = stack_.add("images/x", 3 * kBlock + 100);
  const auto got = stack_.get("images/x", ByteRange::of(kBlock + 5, 10), Wanted::first());
  ASSERT_TRUE(is_ok(got));
  EXPECT_EQ(as_text(got->bytes.view()), text.substr(kBlock + 5, 10));
  const ObjectVersion version = stack_.version("images/x");
  EXPECT_EQ(got->info.etag, version.etag);
  EXPECT_EQ(got->info.size_bytes, version.size_bytes);
  EXPECT_EQ(finds(), 0U);
  EXPECT_EQ(stack_.fetches(), 1U);
  settle();
  EXPECT_THAT(stack_.blocks(), SizeIs(1));
  EXPECT_TRUE(held_.empty());
  EXPECT_EQ(stack_.text("images/x", ByteRange::of(kBlock, kBlock), {Freshness::any, version}),
            text.substr(kBlock, kBlock));
  EXPECT_EQ(stack_.fetches(), 1U) << "kept under the version that came";
}

TEST_F(FirstRead, AWarmOneAsksForTheVersionAndTakesTheTiersBlock) {
  const std::string text = stack_.add("images/x", 3 * kBlock);
  EXPECT_EQ(first(ByteRange::of(0, 100)), text.substr(0, 100));
  settle();
  EXPECT_EQ(first(ByteRange::of(50, 100)), text.substr(50, 100));
  EXPECT_EQ(finds(), 1U);
  EXPECT_EQ(stack_.fetches(), 1U);
  EXPECT_EQ(stack_.meter.hits, 1U);
}

TEST_F(FirstRead, WhatIsThereNowAnswersAndNotWhatATierKept) {
  stack_.add("images/x", 2 * kBlock, 1);
  first(ByteRange::of(0, 2 * kBlock));
  settle();
  const std::string text = stack_.add("images/x", 2 * kBlock, 2);
  EXPECT_EQ(first(ByteRange::of(7, kBlock)), text.substr(7, kBlock));
}

TEST_F(FirstRead, ThePlainStoresAnswersForOddRanges) {
  stack_.add("images/x", 1000);
  stack_.add("images/empty", 0);
  for (const auto& name : {"images/x", "images/empty", "images/none"}) {
    for (const uint64_t offset : {uint64_t{0}, uint64_t{999}, uint64_t{1000}, uint64_t{1001},
                                  uint64_t{5} * kBlock, UINT64_MAX}) {
      for (const uint64_t length : {uint64_t{1}, uint64_t{kBlock}, UINT64_MAX}) {
        const auto range = ByteRange::of(offset, length);
        const auto plain =
            stack_.slow->get(stack_.context, TierStack::key(name), range, Freshness::any);
        const auto tiered = stack_.get(name, range, Wanted::first());
        ASSERT_EQ(plain.ok(), tiered.ok()) << name << " " << offset << "+" << length;
        if (plain) {
          ASSERT_EQ(as_text(plain->bytes.view()), as_text(tiered->bytes.view()));
        } else {
          ASSERT_EQ(plain.error().code(), tiered.error().code());
        }
      }
    }
  }
}

TEST_F(FirstRead, AnotherProcessThatFetchesIsWaitedForAWhileOnly) {
  stack_.options.claim_wait = std::chrono::milliseconds(1);
  settle();
  const std::string text = stack_.add("images/x", 2 * kBlock);
  const auto names =
      BlockNames::of_all_versions(stack_.options.store_name, TierStack::key("images/x"));
  held_.insert(names->block(0).text());
  EXPECT_EQ(first(ByteRange::of(0, 10)), text.substr(0, 10));
  EXPECT_EQ(finds(), 1U) << "by its version, as if the tier held something";
}

TEST_F(FirstRead, ATierThatCannotTellHoldsSomething) {
  const std::string text = stack_.add("images/x", 2 * kBlock);
  stack_.fast_faults.fail_all(Error(Code::unavailable, "scripted"));
  EXPECT_EQ(first(ByteRange::of(0, 10)), text.substr(0, 10));
  EXPECT_EQ(finds(), 1U);
}

TEST_F(FirstRead, AnOpenReaderGoesOnInThatVersion) {
  const std::string text = stack_.add("images/x", 9 * kBlock, 1);
  auto reader = open_object_at(stack_.context, *stack_.cache, TierStack::key("images/x"), 100, 50);
  ASSERT_TRUE(is_ok(reader));
  EXPECT_EQ(stack_.fetches() + finds(), 1U);
  const auto at_hand = (*reader)->read(stack_.context, 100, 50);
  EXPECT_EQ(as_text(at_hand->view()), text.substr(100, 50));
  const auto kept = (*reader)->read(stack_.context, 0, 100);
  EXPECT_EQ(as_text(kept->view()), text.substr(0, 100));
  EXPECT_EQ(stack_.fetches() + finds(), 1U);
  stack_.add("images/x", 9 * kBlock, 2);
  EXPECT_TRUE(fails_with(Code::busy, (*reader)->read(stack_.context, 5 * kBlock, 10)));
}

}  // namespace
}  // namespace thaw
