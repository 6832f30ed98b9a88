#include "object/object_reader.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "object/memory.h"
#include "support/faulty_store.h"
#include "support/random_bytes.h"
#include "support/result_check.h"

namespace thaw {
namespace {

using test::Call;
using test::fails_with;
using test::is_ok;
using test::Verb;
using test::When;

constexpr size_t kMiB = 1 << 20;

class Reader : public ::testing::Test {
 protected:
  std::string put(size_t size_bytes, uint64_t seed) {
    const auto bytes = test::random_bytes(size_bytes, seed);
    EXPECT_TRUE(is_ok(store_->put(context_, key_, Buffer::copy_of(bytes), PutMode::overwrite)));
    return std::string(as_text(bytes));
  }
  std::unique_ptr<ObjectReader> open() {
    auto reader = open_object(context_, *store_, key_);
    EXPECT_TRUE(is_ok(reader));
    return reader ? *std::move(reader) : nullptr;
  }
  // What the stream gave, and how it ended.
  std::string streamed(ObjectReader& reader, uint64_t offset, uint64_t length,
                       Result<>* end = nullptr) {
    std::string text;
    auto ended = reader.stream(context_, offset, length, [&](Bytes bytes) -> Result<> {
      text += as_text(bytes);
      return {};
    });
    if (end == nullptr) {
      EXPECT_TRUE(is_ok(ended));
    } else {
      *end = std::move(ended);
    }
    return text;
  }

  test::Faults faults_;
  const std::unique_ptr<ObjectStore> store_ = test::faulty(make_memory_store(), faults_);
  const Context context_;
  const ObjectKey key_ = *ObjectKey::parse("images/x");
};

TEST_F(Reader, ReadsWhatIsThere) {
  const std::string text = put(1000, 1);
  const auto reader = open();
  EXPECT_EQ(reader->info().size_bytes, 1000U);
  for (const auto& [offset, length] : {std::pair{0, 1000},
                                       {0, 2000},
                                       {10, 20},
                                       {999, 1},
                                       {990, 100},
                                       {1000, 5},
                                       {1000, 0},
                                       {3, 0}}) {
    ByteVector into(static_cast<size_t>(length));
    const auto n = reader->read_at(context_, static_cast<uint64_t>(offset), into.span());
    ASSERT_TRUE(is_ok(n));
    const std::string expected =
        text.substr(static_cast<size_t>(offset), static_cast<size_t>(length));
    EXPECT_EQ(as_text(into.view().first(*n)), expected) << offset << "+" << length;
    const auto buffer =
        reader->read(context_, static_cast<uint64_t>(offset), static_cast<uint64_t>(length));
    ASSERT_TRUE(is_ok(buffer));
    EXPECT_EQ(as_text(buffer->view()), expected);
  }
}

TEST_F(Reader, PastTheEndIsInvalid) {
  put(1000, 1);
  const auto reader = open();
  ByteVector into(10);
  for (const uint64_t offset : {uint64_t{1001}, UINT64_MAX}) {
    EXPECT_TRUE(fails_with(Code::invalid, reader->read_at(context_, offset, into.span())));
    EXPECT_TRUE(fails_with(Code::invalid, reader->read(context_, offset, UINT64_MAX)));
    Result<> end;
    streamed(*reader, offset, 1, &end);
    EXPECT_TRUE(fails_with(Code::invalid, end));
  }
}

TEST_F(Reader, WhatIsNotThereIsNotFound) {
  EXPECT_TRUE(fails_with(Code::not_found, open_object(context_, *store_, key_)));
}

TEST_F(Reader, AShortReadOfAPlainStoreIsOneRequest) {
  const std::string text = put(9 * kMiB, 1);
  const auto reader = open_object_at(context_, *store_, key_, 5, 1000);
  ASSERT_TRUE(is_ok(reader));
  EXPECT_EQ(streamed(**reader, 5, 1000), text.substr(5, 1000));
  EXPECT_EQ(faults_.calls(Verb::get), 1U);
  EXPECT_EQ(faults_.calls(Verb::find), 0U);
  EXPECT_EQ(streamed(**reader, 3 * kMiB, UINT64_MAX), text.substr(3 * kMiB));
  // Past the end, and not there at all.
  const auto past = open_object_at(context_, *store_, key_, 10 * kMiB, 1000);
  ASSERT_TRUE(is_ok(past));
  EXPECT_EQ((*past)->info().size_bytes, 9 * kMiB);
  const auto none = *ObjectKey::parse("images/none");
  EXPECT_TRUE(fails_with(Code::not_found, open_object_at(context_, *store_, none, 0, 1)));
}

TEST_F(Reader, AnEmptyObjectIsOne) {
  put(0, 1);
  const auto reader = open();
  EXPECT_EQ(streamed(*reader, 0, UINT64_MAX), "");
  EXPECT_TRUE(reader->read(context_, 0, 10).value().empty());
}

TEST_F(Reader, StreamsAnyRangeInOrder) {
  const uint64_t seed = test::fresh_seed();
  SCOPED_TRACE(seed);
  const std::string text = put(61 * kMiB + 77, seed);
  const auto reader = open();
  EXPECT_TRUE(streamed(*reader, 0, UINT64_MAX) == text);
  test::TestRandom random(seed);
  for (int i = 0; i < 10; ++i) {
    const uint64_t offset = random.below(text.size() + 1);
    const uint64_t length = random.below(text.size());
    EXPECT_TRUE(streamed(*reader, offset, length) == text.substr(offset, length))
        << offset << "+" << length;
  }
}

TEST_F(Reader, PiecesOfAStreamAreAligned) {
  put(20 * kMiB, 1);
  const auto reader = open();
  std::vector<size_t> sizes;
  EXPECT_TRUE(is_ok(reader->stream(context_, 3 * kMiB, 10 * kMiB, [&](Bytes bytes) -> Result<> {
    sizes.push_back(bytes.size());
    return {};
  })));
  EXPECT_EQ(sizes, (std::vector<size_t>{kMiB, 4 * kMiB, 4 * kMiB, kMiB}));
}

TEST_F(Reader, AStreamRunsAheadButNotFar) {
  put(100 * kMiB, 1);
  const auto reader = open();
  std::atomic<uint64_t> most{0};
  uint64_t taken = 0;
  const uint64_t before = faults_.calls(Verb::get);
  EXPECT_TRUE(is_ok(reader->stream(context_, 0, UINT64_MAX, [&](Bytes) -> Result<> {
    most = std::max<uint64_t>(most, faults_.calls(Verb::get) - before - taken);
    ++taken;
    return {};
  })));
  EXPECT_EQ(taken, 25U);
  EXPECT_LE(most, 8U);
}

TEST_F(Reader, AnObjectThatChangesIsBusy) {
  put(1000, 1);
  const auto reader = open();
  put(1000, 2);
  ByteVector into(10);
  const auto n = reader->read_at(context_, 0, into.span());
  ASSERT_TRUE(fails_with(Code::busy, n));
  EXPECT_NE(n.error().text().find("images/x changed while it was read"), std::string::npos);
  EXPECT_TRUE(is_ok(open()->read_at(context_, 0, into.span())));
  const ObjectKey keys[] = {key_};
  const auto second = open();
  ASSERT_TRUE(is_ok(store_->remove(context_, keys)));
  EXPECT_TRUE(fails_with(Code::busy, second->read_at(context_, 0, into.span())));
}

TEST_F(Reader, AnObjectThatChangesMidwayEndsTheStream) {
  const std::string text = put(64 * kMiB, 1);
  const auto reader = open();
  const uint64_t before = faults_.calls(Verb::get);
  faults_.on_call([&](const Call& call) -> Result<> {
    if (call.verb == Verb::get && call.when == When::before && call.number == before + 5) {
      put(64 * kMiB, 2);
    }
    return {};
  });
  Result<> end;
  const std::string got = streamed(*reader, 0, UINT64_MAX, &end);
  EXPECT_TRUE(fails_with(Code::busy, end));
  EXPECT_TRUE(text.starts_with(got)) << "what came before is of one version";
}

TEST_F(Reader, AStreamEndsWithItsSinksError) {
  put(64 * kMiB, 1);
  const auto reader = open();
  int calls = 0;
  const auto ended = reader->stream(context_, 0, UINT64_MAX, [&](Bytes) -> Result<> {
    if (++calls < 3) return {};
    return Error(Code::exhausted, "no room");
  });
  EXPECT_TRUE(fails_with(Code::exhausted, ended));
  EXPECT_EQ(calls, 3);
}

TEST_F(Reader, AStoppedContextEndsAStream) {
  put(64 * kMiB, 1);
  const auto reader = open();
  StopFlag flag;
  const Context context(flag);
  const auto ended = reader->stream(context, 0, UINT64_MAX, [&](Bytes) -> Result<> {
    flag.stop();
    return {};
  });
  EXPECT_TRUE(fails_with(Code::cancelled, ended));
  ByteVector into(10);
  EXPECT_TRUE(fails_with(Code::cancelled, reader->read_at(context, 0, into.span())));
}

TEST_F(Reader, FailuresBelowAreAnswered) {
  put(64 * kMiB, 1);
  const auto reader = open();
  faults_.fail(Verb::get, 6, When::before, Error(Code::unavailable, "scripted"));
  Result<> end;
  streamed(*reader, 0, UINT64_MAX, &end);
  EXPECT_TRUE(fails_with(Code::unavailable, end));
  faults_.change_get(1, test::truncated_to(5));
  ByteVector into(10);
  EXPECT_TRUE(fails_with(Code::unavailable, reader->read_at(context_, 0, into.span())));
}

TEST_F(Reader, ManyThreadsMayRead) {
  const std::string text = put(10 * kMiB, 1);
  const auto reader = open();
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      EXPECT_TRUE(streamed(*reader, i * kMiB, 5 * kMiB) == text.substr(i * kMiB, 5 * kMiB));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace thaw
