#include "archive/name_table.h"

#include <gtest/gtest.h>

#include <string>

#include "support/result_check.h"

namespace thaw::archive {
namespace {

TEST(NameTable, FindsWhatWasAdded) {
  NameTable names;
  auto folder = names.add(0, "a", NameKind::folder);
  ASSERT_TRUE(folder);
  auto file = names.add(*folder, "a", NameKind::file);
  ASSERT_TRUE(file);
  EXPECT_EQ(names.find(0, "a"), *folder);
  EXPECT_EQ(names.find(*folder, "a"), *file);
  EXPECT_EQ(names.find(*file, "a"), kNone);
  EXPECT_EQ(names.find(0, "A"), kNone);
  EXPECT_EQ(names.path(*file), "a/a");
  EXPECT_EQ(names.path(0), "");
  EXPECT_EQ(names.kind(*file), NameKind::file);
}

TEST(NameTable, GrowsAndKeepsAll) {
  NameTable names;
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(
        names.add(static_cast<uint32_t>(i % 7 == 0 ? 0 : i), std::to_string(i), NameKind::folder)
            .ok());
  }
  for (int i = 0; i < 20'000; ++i) {
    const auto id = names.find(static_cast<uint32_t>(i % 7 == 0 ? 0 : i), std::to_string(i));
    ASSERT_EQ(id, static_cast<uint32_t>(i + 1));
  }
}

// Blocks that are filled to the last byte, and blocks that the next name does not fit into.
TEST(NameTable, KeepsNamesOfAnyLength) {
  for (const size_t length : {64, 255}) {
    NameTable names;
    const auto name = [&](uint32_t i) {
      std::string text = std::to_string(i);
      return text + std::string(length - text.size(), 'n');
    };
    for (uint32_t i = 1; i <= 5000; ++i) ASSERT_TRUE(names.add(0, name(i), NameKind::file).ok());
    for (uint32_t i = 1; i <= 5000; ++i) ASSERT_EQ(names.name(i), name(i));
  }
}

TEST(NameTable, HasTheCapsOfATree) {
  NameTable names;
  const auto long_name = names.add(0, std::string(256, 'n'), NameKind::file);
  ASSERT_FALSE(long_name);
  EXPECT_EQ(long_name.error().code(), Code::exhausted);
  uint32_t at = 0;
  for (int depth = 1; depth <= 1024; ++depth) {
    auto deeper = names.add(at, "d", NameKind::folder);
    ASSERT_TRUE(deeper) << depth;
    at = *deeper;
  }
  EXPECT_FALSE(names.add(at, "d", NameKind::folder));
}

}  // namespace
}  // namespace thaw::archive
