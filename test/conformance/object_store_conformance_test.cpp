// What store.h says of get, put, find, remove and contexts.
#include <gmock/gmock.h>

#include <map>
#include <random>
#include <set>

#include "conformance/store_cases.h"

namespace thaw::test {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

constexpr size_t kMiB = 1024 * 1024;

INSTANTIATE_TEST_SUITE_P(Stores, ObjectStoreTest, ::testing::ValuesIn(store_cases()), name_of_case);

Buffer buffer_of(std::string_view text) { return Buffer::copy_of(as_bytes(text)); }

std::string random_text(size_t size_bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text;
  text.reserve(size_bytes + sizeof seed);
  while (text.size() < size_bytes) {
    const uint64_t word = random();
    text.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  text.resize(size_bytes);
  return text;
}

TEST_P(ObjectStoreTest, AnObjectThatIsNotThereIsNotFound) {
  put("there/x", "1");
  for (const char* name : {"absent", "there", "there/y", "there/x/y", "no/such/folder/x"}) {
    const auto got = store().get(context_, key(name), ByteRange::whole(), Freshness::any);
    ASSERT_FALSE(got) << name;
    EXPECT_EQ(got.error().code(), Code::not_found) << got.error().text();
    EXPECT_NE(got.error().text().find(name), std::string::npos) << "the error names the object";
    EXPECT_FALSE(has(name)) << name;
  }
}

TEST_P(ObjectStoreTest, AStoreThatIsNotThereYetIsEmpty) {
  const auto got = store().get(context_, key("x"), ByteRange::whole(), Freshness::origin);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), Code::not_found);
  EXPECT_FALSE(has("x"));
  EXPECT_THAT(names(), ElementsAre());
  remove({"x", "y/z"});
}

TEST_P(ObjectStoreTest, WhatIsPutIsGot) {
  put("folder/object", "some text");
  for (Freshness freshness : {Freshness::any, Freshness::origin}) {
    const auto got = store().get(context_, key("folder/object"), ByteRange::whole(), freshness);
    ASSERT_TRUE(got) << got.error().text();
    EXPECT_EQ(as_text(got->bytes.view()), "some text");
    EXPECT_EQ(got->info.size_bytes, 9U);
    EXPECT_FALSE(got->info.etag.empty());
    EXPECT_GT(got->info.modified.ns, 0);
  }
}

TEST_P(ObjectStoreTest, FindTellsWhatGetTells) {
  put("a/b", "12345");
  const auto found = store().find(context_, key("a/b"));
  const auto got = store().get(context_, key("a/b"), ByteRange::of(1, 2), Freshness::any);
  ASSERT_TRUE(found && found->has_value() && got);
  EXPECT_EQ((*found)->size_bytes, 5U);
  EXPECT_EQ(got->info.size_bytes, 5U) << "of the whole object, whatever the range";
  EXPECT_EQ((*found)->etag, got->info.etag);
  EXPECT_EQ((*found)->modified, got->info.modified);
}

TEST_P(ObjectStoreTest, RangesFromTheStart) {
  put("x", "0123456789");
  EXPECT_EQ(text_of("x", ByteRange::of(0, 10)), "0123456789");
  EXPECT_EQ(text_of("x", ByteRange::of(0, 1)), "0");
  EXPECT_EQ(text_of("x", ByteRange::of(3, 4)), "3456");
  EXPECT_EQ(text_of("x", ByteRange::of(9, 1)), "9");
  EXPECT_EQ(text_of("x", ByteRange::of(4, 0)), "");
  EXPECT_EQ(text_of("x", ByteRange::of(7, 1000)), "789") << "what lies past the end is cut off";
  EXPECT_EQ(text_of("x", ByteRange::of(7, UINT64_MAX)), "789");
  EXPECT_EQ(text_of("x", ByteRange::of(10, 5)), "") << "an offset at the end answers no bytes";
}

TEST_P(ObjectStoreTest, RangesFromTheEnd) {
  put("x", "0123456789");
  EXPECT_EQ(text_of("x", ByteRange::last(3)), "789");
  EXPECT_EQ(text_of("x", ByteRange::last(10)), "0123456789");
  EXPECT_EQ(text_of("x", ByteRange::last(11)), "0123456789");
  EXPECT_EQ(text_of("x", ByteRange::last(UINT64_MAX)), "0123456789");
  EXPECT_EQ(text_of("x", ByteRange::last(0)), "");
}

TEST_P(ObjectStoreTest, AnOffsetPastTheEndIsInvalid) {
  put("x", "0123456789");
  put("empty", "");
  for (const auto& [name, offset] : std::map<std::string, uint64_t>{{"x", 11}, {"empty", 1}}) {
    for (const uint64_t length : {uint64_t{0}, uint64_t{1}, UINT64_MAX}) {
      const auto got =
          store().get(context_, key(name), ByteRange::of(offset, length), Freshness::any);
      ASSERT_FALSE(got);
      EXPECT_EQ(got.error().code(), Code::invalid) << got.error().text();
    }
  }
}

TEST_P(ObjectStoreTest, AnEmptyObjectIsAnObject) {
  put("empty", "");
  EXPECT_TRUE(has("empty"));
  EXPECT_EQ(text_of("empty"), "");
  EXPECT_EQ(text_of("empty", ByteRange::of(0, 5)), "");
  EXPECT_EQ(text_of("empty", ByteRange::last(5)), "");
  EXPECT_THAT(names(), ElementsAre("empty"));
  const auto again = store().put(context_, key("empty"), buffer_of("x"), PutMode::create);
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, PutOutcome::exists);
}

TEST_P(ObjectStoreTest, ALargeObjectComesBackWhole) {
  const uint64_t seed = test_seed();
  const std::string text = random_text(17 * kMiB + 13, seed);
  put("large", text);
  EXPECT_TRUE(text_of("large") == text);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20; ++i) {
    const size_t offset = random() % text.size();
    const size_t length = random() % text.size();
    EXPECT_TRUE(text_of("large", ByteRange::of(offset, length)) == text.substr(offset, length))
        << offset << "+" << length;
  }
}

TEST_P(ObjectStoreTest, OverwriteReplaces) {
  put("x", "old and longer");
  const auto before = store().find(context_, key("x"));
  put("x", "new");
  EXPECT_EQ(text_of("x"), "new");
  const auto after = store().find(context_, key("x"));
  ASSERT_TRUE(before && after && *before && *after);
  EXPECT_NE((*before)->etag, (*after)->etag);
  EXPECT_EQ((*after)->size_bytes, 3U);
  EXPECT_THAT(names(), ElementsAre("x"));
}

TEST_P(ObjectStoreTest, TheETagChangesWheneverTheBytesDo) {
  constexpr int kPuts = 300;
  std::set<std::string> etags;
  for (int i = 0; i < kPuts; ++i) {
    put("x", std::to_string(1000 + i));  // all of one size, many within a tick of the clock
    const auto found = store().find(context_, key("x"));
    ASSERT_TRUE(found && *found);
    etags.insert((*found)->etag);
  }
  EXPECT_EQ(etags.size(), static_cast<size_t>(kPuts));
}

TEST_P(ObjectStoreTest, CreateLeavesWhatIsThere) {
  put("a/x", "first", PutMode::create);
  const auto before = store().find(context_, key("a/x"));
  for (const char* text : {"second", "", "first"}) {
    const auto outcome = store().put(context_, key("a/x"), buffer_of(text), PutMode::create);
    ASSERT_TRUE(outcome) << outcome.error().text();
    EXPECT_EQ(*outcome, PutOutcome::exists);
  }
  EXPECT_EQ(text_of("a/x"), "first");
  const auto after = store().find(context_, key("a/x"));
  ASSERT_TRUE(before && after && *before && *after);
  EXPECT_EQ((*before)->etag, (*after)->etag);
  EXPECT_EQ((*before)->modified, (*after)->modified);

  remove({"a/x"});
  put("a/x", "third", PutMode::create);
  EXPECT_EQ(text_of("a/x"), "third");
}

TEST_P(ObjectStoreTest, BuffersOutliveTheirObject) {
  put("x", "what a reader holds");
  const auto whole = store().get(context_, key("x"), ByteRange::whole(), Freshness::any);
  const auto part = store().get(context_, key("x"), ByteRange::of(5, 1), Freshness::any);
  put("x", "something else entirely");
  remove({"x"});
  ASSERT_TRUE(whole && part);
  EXPECT_EQ(as_text(whole->bytes.view()), "what a reader holds");
  EXPECT_EQ(as_text(part->bytes.view()), "a");
}

TEST_P(ObjectStoreTest, RemoveIsIdempotent) {
  for (const char* name : {"a/1", "a/2", "b/c/1", "d", "dd"}) put(name, name);
  remove({});
  remove({"nothing", "a/nothing", "x/y/z", "a", "b/c", "d/e"});
  EXPECT_THAT(names(), ElementsAre("a/1", "a/2", "b/c/1", "d", "dd"));
  remove({"a/1", "b/c/1", "nothing", "d", "a/1"});
  EXPECT_THAT(names(), ElementsAre("a/2", "dd"));
  remove({"a/1", "b/c/1", "nothing", "d"});
  EXPECT_THAT(names(), ElementsAre("a/2", "dd"));
  EXPECT_FALSE(has("a/1"));
  EXPECT_EQ(text_of("a/2"), "a/2");
  remove({"a/2", "dd"});
  EXPECT_THAT(names(), ElementsAre());
  put("a/1", "again");
  EXPECT_EQ(text_of("a/1"), "again");
}

TEST_P(ObjectStoreTest, RemovesManyFoldersAtOnce) {
  std::vector<std::string> all;
  for (int i = 0; i < 150; ++i) all.push_back("folder" + std::to_string(i) + "/deeper/object");
  for (const std::string& name : all) put(name, "x");
  put("stays", "x");
  remove(all);
  EXPECT_THAT(names(), ElementsAre("stays"));
}

TEST_P(ObjectStoreTest, NamesAreBytes) {
  std::vector<std::string> odd = {"with space",
                                  " ",
                                  "tab\tnew\nline",
                                  "back\\slash",
                                  "per%cent%2Fslash",
                                  "plus+and&?#",
                                  "...",
                                  ".hidden",
                                  "..a",
                                  "-rf",
                                  "~",
                                  "*",
                                  "quote\"'",
                                  "CASE",
                                  "case",
                                  "\x01\x7f",
                                  "\x80\xff not UTF-8",
                                  "caf\xc3\xa9",
                                  "cafe\xcc\x81",
                                  "a/.tmp",
                                  ".tmp2",
                                  "@/@",
                                  std::string(255, 's'),
                                  std::string(255, 'x') + "/" + std::string(255, 'y') + "/" +
                                      std::string(255, 'z') + "/" + std::string(254, 'w') + "/k"};
  for (std::string& name : odd) name = GetParam().fit(name);
  std::erase_if(odd, [](const std::string& name) { return !GetParam().takes(name); });
  for (const std::string& name : odd) put(name, "text of " + name);
  for (const std::string& name : odd) EXPECT_EQ(text_of(name), "text of " + name);
  EXPECT_EQ(names().size(), odd.size());
}

TEST_P(ObjectStoreTest, AStoppedContextEndsEveryCall) {
  put("there", "x");
  StopFlag stop;
  stop.stop();
  const Context stopped(stop);
  const Context late = context_.within(milliseconds(0));
  const ObjectKey keys[] = {key("there")};
  for (const auto& [context, code] :
       {std::pair(&stopped, Code::cancelled), std::pair(&late, Code::timeout)}) {
    const auto got = store().get(*context, keys[0], ByteRange::whole(), Freshness::any);
    const auto put_over = store().put(*context, keys[0], buffer_of("y"), PutMode::overwrite);
    const auto created = store().put(*context, key("new"), buffer_of("y"), PutMode::create);
    const auto found = store().find(*context, keys[0]);
    const auto listed = store().list(*context, "", {});
    const auto removed = store().remove(*context, keys);
    ASSERT_FALSE(got || put_over || created || found || listed || removed);
    EXPECT_EQ(got.error().code(), code);
    EXPECT_EQ(put_over.error().code(), code);
    EXPECT_EQ(created.error().code(), code);
    EXPECT_EQ(found.error().code(), code);
    EXPECT_EQ(listed.error().code(), code);
    EXPECT_EQ(removed.error().code(), code);
  }
  EXPECT_EQ(text_of("there"), "x");
  EXPECT_THAT(names(), ElementsAre("there"));
}

TEST_P(ObjectStoreTest, ACallWithinItsDeadlineSucceeds) {
  const Context minute = context_.within(milliseconds(60'000));
  const auto outcome = store().put(minute, key("x"), buffer_of("y"), PutMode::create);
  ASSERT_TRUE(outcome) << outcome.error().text();
  EXPECT_EQ(text_of("x"), "y");
}

TEST_P(ObjectStoreTest, DescribesItself) {
  EXPECT_FALSE(store().describe().empty());
  EXPECT_EQ(store().describe().find('\n'), std::string::npos);
}

// --- gets that want a version

ObjectVersion version_of(const ObjectInfo& info) { return {info.etag, info.size_bytes}; }

TEST_P(ObjectStoreTest, TheVersionThatIsThereIsGot) {
  put("x", "0123456789");
  const auto found = store().find(context_, key("x"));
  ASSERT_TRUE(found && *found);
  for (const Freshness freshness : {Freshness::any, Freshness::origin}) {
    const Wanted wanted(freshness, version_of(**found));
    for (const auto& [range, text] :
         std::vector<std::pair<ByteRange, std::string>>{{ByteRange::whole(), "0123456789"},
                                                        {ByteRange::of(3, 4), "3456"},
                                                        {ByteRange::of(8, 100), "89"},
                                                        {ByteRange::of(10, 5), ""},
                                                        {ByteRange::of(4, 0), ""},
                                                        {ByteRange::last(2), "89"}}) {
      const auto got = store().get(context_, key("x"), range, wanted);
      ASSERT_TRUE(got) << got.error().text();
      EXPECT_EQ(as_text(got->bytes.view()), text);
      EXPECT_EQ(version_of(got->info), *wanted.version);
    }
    const auto past = store().get(context_, key("x"), ByteRange::of(11, 1), wanted);
    ASSERT_FALSE(past);
    EXPECT_EQ(past.error().code(), Code::invalid) << past.error().text();
  }
}

TEST_P(ObjectStoreTest, AnotherVersionIsNotFound) {
  put("x", "0123456789");
  const auto found = store().find(context_, key("x"));
  ASSERT_TRUE(found && *found);
  const Wanted wanted(Freshness::any, version_of(**found));
  // Of the same size; longer; shorter, so that ranges of the old one lie past its end.
  for (const char* text : {"9876543210", "0123456789 and more", "012", ""}) {
    put("x", text);
    for (const ByteRange& range : {ByteRange::whole(), ByteRange::of(0, 1), ByteRange::of(5, 2),
                                   ByteRange::of(10, 1), ByteRange::of(4, 0), ByteRange::last(3)}) {
      const auto got = store().get(context_, key("x"), range, wanted);
      ASSERT_FALSE(got) << "\"" << text << "\" from " << range.offset;
      EXPECT_EQ(got.error().code(), Code::not_found) << got.error().text();
    }
  }
  put("x", "0123456789");
  const auto same_bytes = store().find(context_, key("x"));
  ASSERT_TRUE(same_bytes && *same_bytes);
  const auto got = store().get(context_, key("x"), ByteRange::whole(),
                               {Freshness::any, version_of(**same_bytes)});
  EXPECT_TRUE(got) << got.error().text();
}

TEST_P(ObjectStoreTest, AVersionOfAnotherSizeOrOfNothingIsNotFound) {
  put("x", "0123456789");
  const auto found = store().find(context_, key("x"));
  ASSERT_TRUE(found && *found);
  const ObjectVersion right = version_of(**found);
  for (const ObjectVersion& wrong : {ObjectVersion{right.etag, 9}, ObjectVersion{right.etag, 11},
                                     ObjectVersion{right.etag + "0", 10}}) {
    const auto got = store().get(context_, key("x"), ByteRange::of(0, 5), {Freshness::any, wrong});
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code(), Code::not_found) << got.error().text();
  }
  remove({"x"});
  const auto got = store().get(context_, key("x"), ByteRange::of(0, 5), {Freshness::any, right});
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), Code::not_found) << got.error().text();
}

TEST_P(ObjectStoreTest, AnObjectMayBeNamedLikeAFolder) {
  put("a", "object");
  const auto below = store().put(context_, key("a/b"), buffer_of("below"), PutMode::overwrite);
  put("c/d", "object");
  const auto above = store().put(context_, key("c"), buffer_of("above"), PutMode::create);
  if (GetParam().is_tree) {
    ASSERT_FALSE(below || above);
    EXPECT_EQ(below.error().code(), Code::invalid) << below.error().text();
    EXPECT_EQ(above.error().code(), Code::invalid) << above.error().text();
    EXPECT_THAT(names(), ElementsAre("a", "c/d"));
  } else {
    ASSERT_TRUE(below && above);
    EXPECT_EQ(text_of("a/b"), "below");
    EXPECT_EQ(text_of("c"), "above");
    EXPECT_THAT(names(), ElementsAre("a", "a/b", "c", "c/d"));
    remove({"a", "c"});
    EXPECT_THAT(names(), ElementsAre("a/b", "c/d"));
  }
  remove({"a", "a/b", "c", "c/d"});
  put("a/b", "now a folder");
  put("c", "now an object");
  EXPECT_THAT(names(), ElementsAre("a/b", "c"));
}

}  // namespace
}  // namespace thaw::test
