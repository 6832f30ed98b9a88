#include "object/store.h"

#include <gtest/gtest.h>

#include "object/contract.h"

namespace thaw {
namespace {

TEST(ObjectKey, IsMadeOfSegments) {
  const std::string segment(255, 's');
  const std::string longest = segment + "/" + segment + "/" + segment + "/" + segment + "/";
  for (const std::string& text : {std::string("a"), std::string("a/b/c"), std::string(".a"),
                                  std::string("..."), std::string("a b"), std::string("\x01\xff"),
                                  segment, std::string("@"), longest.substr(0, 1023)}) {
    const auto key = ObjectKey::parse(text);
    ASSERT_TRUE(key) << text;
    EXPECT_EQ(key->text(), text);
  }
}

TEST(ObjectKey, RefusesWhatCouldLeaveTheStore) {
  const std::string segment(255, 's');
  const std::string long_text = segment + "/" + segment + "/" + segment + "/" + segment + "/" + "x";
  for (const std::string& text :
       {std::string(), std::string("/"), std::string("/a"), std::string("a/"), std::string("a//b"),
        std::string("."), std::string(".."), std::string("a/."), std::string("../a"),
        std::string("a/../b"), std::string("a\0b", 3), std::string(256, 's'),
        std::string("a/") + std::string(256, 's'), long_text + "x"}) {
    const auto key = ObjectKey::parse(text);
    ASSERT_FALSE(key) << text;
    EXPECT_EQ(key.error().code(), Code::invalid);
  }
}

TEST(ObjectKey, OrdersBytewise) {
  const auto less = [](const char* a, const char* b) {
    return *ObjectKey::parse(a) < *ObjectKey::parse(b);
  };
  EXPECT_TRUE(less("a.b", "a/x"));
  EXPECT_TRUE(less("a/x", "a0"));
  EXPECT_TRUE(less("z", "\x80"));
}

void expect_piece(const ByteRange& range, uint64_t size, uint64_t offset, uint64_t length) {
  const auto piece = piece_of(range, size);
  ASSERT_TRUE(piece);
  EXPECT_EQ(piece->offset, offset);
  EXPECT_EQ(piece->length, length);
}

TEST(PieceOf, CutsOffWhatLiesPastTheEnd) {
  expect_piece(ByteRange::whole(), 0, 0, 0);
  expect_piece(ByteRange::whole(), 10, 0, 10);
  expect_piece(ByteRange::of(3, 4), 10, 3, 4);
  expect_piece(ByteRange::of(3, UINT64_MAX), 10, 3, 7);
  expect_piece(ByteRange::of(10, 1), 10, 10, 0);
  expect_piece(ByteRange::last(3), 10, 7, 3);
  expect_piece(ByteRange::last(11), 10, 0, 10);
  expect_piece(ByteRange::of(0, UINT64_MAX), UINT64_MAX, 0, UINT64_MAX);
}

TEST(PieceOf, RefusesAnOffsetPastTheEnd) {
  EXPECT_EQ(piece_of(ByteRange::of(11, 1), 10).error().code(), Code::invalid);
  EXPECT_EQ(piece_of(ByteRange::of(UINT64_MAX, UINT64_MAX), 10).error().code(), Code::invalid);
}

}  // namespace
}  // namespace thaw
