#include "format/key.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "format/limits.h"
#include "format/utf8.h"
#include "support/random_bytes.h"
#include "support/result_check.h"

namespace thaw::test {
namespace {

Key key(const std::string& text) { return Key::parse(text).value(); }

TEST(KeyTest, Grammar) {
  const std::string segment(limits::kKeySegmentBytes, 's');
  const std::string full = segment + "/" + segment + "/" + std::string(110, 's');
  ASSERT_EQ(full.size(), limits::kKeyBytes);
  const std::string taken[] = {
      "a",
      "site/shop/deno-dir",
      "a b",
      "...",
      ".a",
      "a.",
      "..a/b",
      "-",
      "~",
      "*",
      "a:b",
      "%2e",
      "\xc3\xbc"
      "ber",
      "\xe2\x82\xac",
      "\xf0\x9f\xa7\x8a",
      "\xc2\xa0",
      segment,
      full,
  };
  for (const std::string& text : taken) {
    const auto parsed = Key::parse(text);
    ASSERT_TRUE(is_ok(parsed)) << text;
    EXPECT_EQ(parsed->text(), text);
  }
  const std::string refused[] = {
      "",
      "/",
      "a/",
      "/a",
      "a//b",
      ".",
      "..",
      "a/.",
      "a/..",
      "../a",
      "a/./b",
      "a@b",
      "@",
      "a/@/b",
      "a\\b",
      "a\nb",
      "a\x7f",
      std::string("a\0b", 3),
      "\x1b[31m",
      segment + "s",
      full + "s",
      // C1 controls, and what is no UTF-8: stray, cut off, overlong, surrogate, past the end.
      "\xc2\x80",
      "a\xc2\x9b"
      "31m",
      "\xc2\x9f",
      "\x80",
      "\xff",
      "a\xc3",
      "\xe2\x82",
      "\xf0\x9f\xa7",
      "\xc0\xaf",
      "\xc1\xbf",
      "\xe0\x9f\xbf",
      "\xf0\x8f\xbf\xbf",
      "\xed\xa0\x80",
      "\xed\xbf\xbf",
      "\xf4\x90\x80\x80",
      "\xf5\x80\x80\x80",
      "\xe2\x28\xa1",
  };
  for (const std::string& text : refused) {
    EXPECT_TRUE(fails_with(Code::invalid, Key::parse(text))) << to_hex(as_bytes(text));
  }
}

TEST(KeyTest, MessagesRepeatOnlyPrintableText) {
  const std::string hostile[] = {
      "a@\x1b[31m", "\x1b]0;x",     "a\\\xc2\x9b", "@\xff",
      "a@b@\x07",   "a@\x1b[31m@3", "\xff@1",      std::string(10'000, 'x') + "@"};
  for (const std::string& text : hostile) {
    for (const Error& error : {Key::parse(text).error(), KeyRef::parse(text).error()}) {
      EXPECT_TRUE(is_utf8(error.message()));
      EXPECT_FALSE(has_control_characters(error.message()));
      EXPECT_LT(error.message().size(), 1000U);
    }
  }
}

TEST(KeyRefTest, Grammar) {
  const auto newest = KeyRef::parse("a/b");
  ASSERT_TRUE(is_ok(newest));
  EXPECT_EQ(newest->key.text(), "a/b");
  EXPECT_FALSE(newest->generation);
  EXPECT_EQ(newest->text(), "a/b");

  const auto one = KeyRef::parse("a/b@1");
  ASSERT_TRUE(is_ok(one));
  EXPECT_EQ(one->key.text(), "a/b");
  EXPECT_EQ(one->generation, 1U);
  EXPECT_EQ(one->text(), "a/b@1");
  EXPECT_EQ(KeyRef::parse("a@007")->generation, 7U);
  EXPECT_EQ(KeyRef::parse("a@18446744073709551615")->generation, UINT64_MAX);

  for (const char* text : {"a@", "a@0", "a@-1", "a@+1", "a@ 1", "a@1 ", "a@1x", "a@0x1", "a@1.0",
                           "a@18446744073709551616", "@1", "a@1@2", "a/@1", "a@b", "", "@"}) {
    EXPECT_TRUE(fails_with(Code::invalid, KeyRef::parse(text))) << text;
  }
}

TEST(KeyTest, PrefixesCoverWholeSegments) {
  EXPECT_TRUE(prefix_covers("", "a"));
  EXPECT_TRUE(prefix_covers("/", "a"));
  EXPECT_TRUE(prefix_covers("build1", "build1"));
  EXPECT_TRUE(prefix_covers("build1/", "build1"));
  EXPECT_TRUE(prefix_covers("build1", "build1/x"));
  EXPECT_TRUE(prefix_covers("build1/", "build1/x/y"));
  EXPECT_TRUE(prefix_covers("a/b", "a/b/c"));
  EXPECT_FALSE(prefix_covers("build1", "build10"));
  EXPECT_FALSE(prefix_covers("build1/", "build10"));
  EXPECT_FALSE(prefix_covers("build1//", "build1/x"));
  EXPECT_FALSE(prefix_covers("build1/x", "build1"));
  EXPECT_FALSE(prefix_covers("a/b", "a/bc"));
  EXPECT_FALSE(prefix_covers("b", "a/b"));
  EXPECT_FALSE(prefix_covers("A", "a"));
}

TEST(EntryNameTest, AsDocumented) {
  EXPECT_EQ(entry_prefix(key("site/shop")), "keys/site/shop/@/");
  EXPECT_EQ(entry_name(key("site/shop"), 1), "keys/site/shop/@/fffffffffffffffe");
  EXPECT_EQ(entry_name(key("k"), UINT64_MAX), "keys/k/@/0000000000000000");
  EXPECT_EQ(refusal_prefix(key("k"), 0), "keys/k/@refused/ffffffffffffffff-");
  EXPECT_EQ(refusal_prefix(key("k"), 7), "keys/k/@refused/fffffffffffffff8-");
}

TEST(EntryNameTest, ThereAndBack) {
  const uint64_t seed = fresh_seed();
  SCOPED_TRACE(seed);
  TestRandom random(seed);
  for (const char* text : {"a", "a/b/c", "keys/x", "...", "\xc3\xbc", "refused"}) {
    for (int i = 0; i < 100; ++i) {
      const uint64_t generation = std::max<uint64_t>(random.next() >> random.below(64), 1);
      const auto parsed = parse_entry_name(entry_name(key(text), generation));
      ASSERT_TRUE(parsed);
      EXPECT_EQ(parsed->key.text(), text);
      EXPECT_EQ(parsed->generation, generation);
    }
  }
}

TEST(EntryNameTest, TheNewestIsTheFirstName) {
  std::vector<std::string> names;
  for (const uint64_t generation : {UINT64_MAX, uint64_t{1} << 40, uint64_t{11}, uint64_t{10},
                                    uint64_t{9}, uint64_t{2}, uint64_t{1}}) {
    names.push_back(entry_name(key("k"), generation));
  }
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
}

TEST(EntryNameTest, HostileNames) {
  for (const char* name :
       {"", "keys", "keys/", "keys/a", "keys/a/@", "keys/a/@/", "keys//@/fffffffffffffffe",
        "keys/@/fffffffffffffffe", "/keys/a/@/fffffffffffffffe", "Keys/a/@/fffffffffffffffe",
        "packs/a/@/fffffffffffffffe", "keys/../@/fffffffffffffffe", "keys/a//@/fffffffffffffffe",
        "keys/a/./@/fffffffffffffffe",
        // Generation 0, then everything but the one spelling of a number.
        "keys/a/@/ffffffffffffffff", "keys/a/@/FFFFFFFFFFFFFFFE", "keys/a/@/fffffffffffffffe/",
        "keys/a/@/ffffffffffffffe", "keys/a/@/0fffffffffffffffe", "keys/a/@/fffffffffffffffe ",
        "keys/a/@/-ffffffffffffffe", "keys/a/@/0x00000000000001", "keys/a/@/fffffffffffffffg",
        "keys/a/@/fffffffffffffffe-00000000000000000000000000000000",
        "keys/a/@refused/fffffffffffffffe", "keys/a/@/x/@/fffffffffffffffe",
        "keys/a@1/@/fffffffffffffffe", "keys/a/@/@/fffffffffffffffe", "keys/a\n/@/fffffffffffffffe",
        "keys/\xff/@/fffffffffffffffe"}) {
    EXPECT_FALSE(parse_entry_name(name)) << name;
  }
  EXPECT_FALSE(parse_entry_name(std::string_view("keys/a\0/@/fffffffffffffffe", 26)));
}

}  // namespace
}  // namespace thaw::test
