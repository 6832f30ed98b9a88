#include "base/bytes.h"

#include <gtest/gtest.h>

#include <thread>

namespace thaw {
namespace {

TEST(ByteVector, GrowsAndKeepsWhatItHolds) {
  ByteVector bytes;
  EXPECT_TRUE(bytes.empty());
  std::string model;
  for (int i = 0; i < 1000; ++i) {
    const std::string piece(static_cast<size_t>(i % 7), static_cast<char>('a' + i % 26));
    bytes.append(as_bytes(piece));
    model += piece;
  }
  EXPECT_EQ(as_text(bytes.view()), model);
  bytes.resize(10);
  EXPECT_EQ(as_text(bytes.view()), model.substr(0, 10));
  bytes.reserve(1 << 20);
  EXPECT_GE(bytes.capacity(), size_t{1} << 20);
  EXPECT_EQ(as_text(bytes.view()), model.substr(0, 10));
  bytes.clear();
  EXPECT_TRUE(bytes.empty());
}

TEST(ByteVector, AMovedFromVectorIsEmptyAndMayBeFilledAgain) {
  ByteVector from;
  from.append(as_bytes("first"));
  ByteVector to = std::move(from);
  EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move): what is tested
  from.append(as_bytes("second"));
  EXPECT_EQ(as_text(to.view()), "first");
  EXPECT_EQ(as_text(from.view()), "second");
  to = std::move(from);
  EXPECT_EQ(as_text(to.view()), "second");
  const Buffer buffer(std::move(to));
  to.append(as_bytes("third"));  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(as_text(buffer.view()), "second");
  EXPECT_EQ(as_text(to.view()), "third");
}

TEST(Buffer, HoldsAndShares) {
  EXPECT_TRUE(Buffer().empty());
  EXPECT_TRUE(Buffer(ByteVector()).empty());
  EXPECT_TRUE(Buffer::copy_of({}).empty());
  std::string text = "some text that is too long to lie inside the string itself";
  const Buffer copy = Buffer::copy_of(as_bytes(text));
  const Buffer kept(text);
  text[0] = 'X';
  EXPECT_EQ(as_text(copy.view()).front(), 's');
  EXPECT_EQ(as_text(kept.view()).front(), 's');
  const Buffer same = kept;  // NOLINT(performance-unnecessary-copy-initialization): what is tested
  EXPECT_EQ(same.data(), kept.data());
}

TEST(Buffer, ASliceKeepsTheWholeAlive) {
  Buffer slice;
  {
    const Buffer whole(std::string("0123456789"));
    slice = whole.slice(3, 4).slice(1, 2);
    EXPECT_TRUE(whole.slice(10, 0).empty());
    EXPECT_EQ(slice.data(), whole.data() + 4);
  }
  EXPECT_EQ(as_text(slice.view()), "45");
}

TEST(Buffer, IsSharedBetweenThreads) {
  const Buffer whole(std::string(1000, 'x'));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; ++i) {
    threads.emplace_back([whole, i] {
      for (size_t j = 0; j < 200; ++j) {
        const Buffer mine = whole.slice(i, j);
        EXPECT_EQ(mine.size(), j);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(LittleEndian, FieldsGoBothWays) {
  ByteVector bytes;
  append_le<uint16_t>(bytes, 0x1234);
  append_le<uint32_t>(bytes, 0xdeadbeef);
  append_le<uint64_t>(bytes, 0x0102030405060708);
  EXPECT_EQ(to_hex(bytes.view()), "3412efbeadde0807060504030201");
  EXPECT_EQ(load_le<uint16_t>(bytes.data()), 0x1234);
  EXPECT_EQ(load_le<uint32_t>(bytes.data() + 2), 0xdeadbeef);
  EXPECT_EQ(load_le<uint64_t>(bytes.data() + 6), 0x0102030405060708U);
}

TEST(Hex, GoesBothWays) {
  const std::vector<uint8_t> bytes = {0x00, 0x0f, 0xf0, 0xff, 0x1a};
  EXPECT_EQ(to_hex(bytes), "000ff0ff1a");
  EXPECT_EQ(from_hex("000ff0ff1a"), bytes);
  EXPECT_EQ(from_hex(""), std::vector<uint8_t>());
}

TEST(Hex, RefusesWhatIsNotLowerCaseHex) {
  for (const char* text : {"0", "0g", "0A", "FF", " 0", "0 ", "0x", "\xff\xff"}) {
    EXPECT_FALSE(from_hex(text)) << text;
  }
}

TEST(HumanSize, ReadsWell) {
  EXPECT_EQ(human_size(0), "0 B");
  EXPECT_EQ(human_size(1023), "1023 B");
  EXPECT_EQ(human_size(1024), "1.0 KiB");
  EXPECT_EQ(human_size(1536), "1.5 KiB");
  EXPECT_EQ(human_size(uint64_t{767} << 20), "767.0 MiB");
  EXPECT_EQ(human_size(UINT64_MAX), "16.0 EiB");
}

}  // namespace
}  // namespace thaw
