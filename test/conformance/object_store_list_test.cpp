// What store.h says of list, and a random walk against a model.
#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>

#include "conformance/store_cases.h"

namespace thaw::test {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

using StoreListTest = ObjectStoreTest;
INSTANTIATE_TEST_SUITE_P(Stores, StoreListTest, ::testing::ValuesIn(store_cases()), name_of_case);

// In bytewise order. '-' and '.' sort before '/', '0' after it.
std::vector<std::string> nasty_names(const StoreCase& tested) {
  std::vector<std::string> names = {
      " ",      "  x",          "A",      "a",     "a b",  "a-",        "a-/x",    "a.b", "a.b.c",
      "a/ ",    "a/b",          "a/b.c",  "a/b/c", "a/b0", "a0",        "a0/0",    "ab",  "b/\x7f",
      "b/\x80", "b/\xc3\xa9/x", "b/\xff", "z",     "\x80", "\xff/\xff", "\xff\xff"};
  for (std::string& name : names) name = tested.fit(name);
  if (tested.is_tree) {
    std::erase_if(names, [&](const std::string& name) {
      return std::any_of(names.begin(), names.end(),
                         [&](const std::string& other) { return other.starts_with(name + "/"); });
    });
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> only(const std::vector<std::string>& names, std::string_view prefix,
                              std::string_view after) {
  std::vector<std::string> some;
  for (const std::string& name : names) {
    if (name.starts_with(prefix) && name > after) some.push_back(name);
  }
  return some;
}

class NastyNames : public ObjectStoreTest {
 protected:
  void SetUp() override {
    std::vector<std::string> shuffled = all_;
    std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937_64(test_seed()));
    for (const std::string& name : shuffled) put(name, name);
  }
  const std::vector<std::string> all_ = nasty_names(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Stores, NastyNames, ::testing::ValuesIn(store_cases()), name_of_case);

TEST_P(NastyNames, AreListedBytewise) {
  const ListPage page = list("");
  EXPECT_THAT(names_of(page), ElementsAreArray(all_));
  EXPECT_FALSE(page.more);
  for (const Listed& each : page.objects) {
    EXPECT_EQ(each.info.size_bytes, each.key.text().size());
    const auto found = store().find(context_, each.key);
    ASSERT_TRUE(found && *found);
    EXPECT_TRUE(each.info.etag.empty() || each.info.etag == (*found)->etag);
    // A bucket's listing has milliseconds, its headers have not.
    const int64_t grain_ns = GetParam().is_bucket ? 1'000'000'000 : 1;
    EXPECT_EQ(each.info.modified.ns / grain_ns, (*found)->modified.ns / grain_ns);
  }
}

TEST_P(NastyNames, AreTheSameWithPagesOfAnySize) {
  for (size_t limit = 1; limit <= all_.size() + 1; ++limit) {
    EXPECT_THAT(names("", limit), ElementsAreArray(all_)) << "limit " << limit;
  }
}

TEST_P(NastyNames, AreSaidToBeMoreOnlyWhenTheyAre) {
  for (size_t limit = 1; limit <= all_.size(); ++limit) {
    EXPECT_EQ(list("", {"", limit}).more, limit < all_.size()) << "limit " << limit;
  }
  EXPECT_FALSE(list("a.b.c", {"", 1}).more);
  EXPECT_TRUE(list("a.b", {"", 1}).more);
  EXPECT_FALSE(list("", {all_[all_.size() - 2], 1}).more);
  EXPECT_TRUE(list("", {all_[all_.size() - 3], 1}).more);
}

TEST_P(NastyNames, GoOnAfterAnyName) {
  for (const std::string& name : all_) {
    // A name itself, one that is a little less, one a little more, and none of an object.
    const std::vector<std::string> afters = {name,          name.substr(0, name.size() - 1),
                                             name + '\x01', name + "/",
                                             name + "/zzz", name + "\xff"};
    for (const std::string& after : afters) {
      if (!GetParam().takes(after)) continue;
      EXPECT_THAT(names("", 1000, after), ElementsAreArray(only(all_, "", after))) << after;
      EXPECT_THAT(names("a", 2, after), ElementsAreArray(only(all_, "a", after))) << after;
      EXPECT_THAT(names("b/", 1, after), ElementsAreArray(only(all_, "b/", after))) << after;
    }
  }
}

TEST_P(NastyNames, AreFoundByAnyPrefix) {
  for (const std::string& name : all_) {
    for (size_t length = 1; length <= name.size(); ++length) {
      const std::string prefix = name.substr(0, length);
      if (!GetParam().takes(prefix)) continue;
      EXPECT_THAT(names(prefix), ElementsAreArray(only(all_, prefix, ""))) << prefix;
      EXPECT_THAT(names(prefix, 1), ElementsAreArray(only(all_, prefix, ""))) << prefix;
      EXPECT_THAT(names(prefix + "/"), ElementsAreArray(only(all_, prefix + "/", ""))) << prefix;
    }
  }
}

TEST_P(StoreListTest, APrefixOfNoNameListsNothing) {
  put("a/b", "x");
  const std::vector<std::string> prefixes = {"b",
                                             "a/bc",
                                             "a/b/",
                                             "/",
                                             "//",
                                             "/a",
                                             "a//",
                                             "./",
                                             "../",
                                             "a/../",
                                             "a/./a",
                                             std::string(300, 'a') + "/",
                                             std::string(2000, 'a'),
                                             std::string("a\0", 2),
                                             "\xff"};
  for (const std::string& prefix : prefixes) {
    if (!GetParam().takes(prefix)) continue;
    EXPECT_THAT(names(prefix), ElementsAre()) << prefix;
  }
}

TEST_P(StoreListTest, AnEmptyStoreListsNothing) {
  const ListPage page = list("");
  EXPECT_TRUE(page.objects.empty());
  EXPECT_FALSE(page.more);
  EXPECT_THAT(names("any/prefix", 1, "after"), ElementsAre());
}

TEST_P(StoreListTest, APageHasOneToAThousandNames) {
  for (const size_t limit : {size_t{0}, size_t{1001}, SIZE_MAX}) {
    const auto page = store().list(context_, "", {"", limit});
    ASSERT_FALSE(page);
    EXPECT_EQ(page.error().code(), Code::invalid);
  }
}

TEST_P(StoreListTest, MoreThanAPageOfNames) {
  std::vector<std::string> all;
  for (int i = 0; i < 1005; ++i)
    all.push_back("f" + std::to_string(i % 7) + "/" + std::to_string(i));
  for (const std::string& name : all) put(name, "");
  std::sort(all.begin(), all.end());
  EXPECT_THAT(names(), ElementsAreArray(all));
  EXPECT_EQ(list("").objects.size(), 1000U);
  EXPECT_TRUE(list("").more);
}

TEST_P(StoreListTest, TheNewestGenerationIsTheFirstOfAOneNameList) {
  for (const char* name : {"keys/site/@/997", "keys/site/@/998", "keys/site/@/999",
                           "keys/site/sub/@/001", "keys/site-2/@/001"}) {
    put(name, "entry");
  }
  const ListPage page = list("keys/site/@/", {"", 1});
  EXPECT_THAT(names_of(page), ElementsAre("keys/site/@/997"));
  EXPECT_TRUE(page.more);
}

// A random walk: every answer must be that of a std::map.
class Walk {
 public:
  Walk(uint64_t seed, const StoreCase& tested) : random_(seed), tested_(tested) {}
  size_t below(size_t n) { return random_() % n; }
  std::string name() {
    // Folders and objects differ in name, so that trees can hold them all.
    static const std::vector<std::string> kFolders = {"a", "a.", "b c", "\x80"};
    static const std::vector<std::string> kLeaves = {"a-", "a.b", "a0", "x", "y", "\xff"};
    std::string text;
    for (size_t depth = below(3); depth > 0; --depth) text += kFolders[below(4)] + "/";
    return tested_.fit(text + kLeaves[below(6)]);
  }
  std::string piece_of_name() {
    while (true) {
      const std::string text = name();
      std::string piece = text.substr(0, below(text.size() + 1));
      if (tested_.takes(piece)) return piece;
    }
  }
  std::string text() { return std::string(below(40), static_cast<char>('a' + below(26))); }

 private:
  std::mt19937_64 random_;
  const StoreCase& tested_;
};

TEST_P(StoreListTest, BehavesLikeAMap) {
  Walk walk(test_seed(), GetParam());
  std::map<std::string, std::string> model;
  for (int step = 0; step < 1500; ++step) {
    const std::string name = walk.name();
    const auto known = model.find(name);
    switch (walk.below(6)) {
      case 0: {
        const std::string text = walk.text();
        put(name, text);
        model[name] = text;
        break;
      }
      case 1: {
        const std::string text = walk.text();
        const auto made = store().put(context_, key(name), Buffer(text), PutMode::create);
        ASSERT_TRUE(made) << made.error().text();
        ASSERT_EQ(*made == PutOutcome::stored, model.emplace(name, text).second) << name;
        break;
      }
      case 2: {
        const std::string other = walk.name();
        remove({name, other});
        model.erase(name);
        model.erase(other);
        break;
      }
      case 3: {
        const ByteRange range = ByteRange::of(walk.below(20), walk.below(20));
        const auto got = store().get(context_, key(name), range, Freshness::any);
        const bool fits = known != model.end() && range.offset <= known->second.size();
        ASSERT_EQ(got.ok(), fits) << name;
        if (!fits) break;
        ASSERT_EQ(as_text(got->bytes.view()), known->second.substr(range.offset, range.length));
        break;
      }
      case 4:
        ASSERT_EQ(has(name), known != model.end()) << name;
        break;
      case 5: {
        const std::string prefix = walk.piece_of_name();
        const std::string after = walk.piece_of_name();
        const size_t limit = 1 + walk.below(12);
        std::vector<std::string> all;
        for (const auto& each : model) all.push_back(each.first);
        auto wanted = only(all, prefix, after);
        const ListPage page = list(prefix, {after, limit});
        ASSERT_EQ(page.more, wanted.size() > limit) << prefix << " after " << after;
        wanted.resize(std::min(wanted.size(), limit));
        ASSERT_THAT(names_of(page), ElementsAreArray(wanted)) << prefix << " after " << after;
      }
    }
    ASSERT_FALSE(HasFailure()) << "at step " << step;
  }
}

}  // namespace
}  // namespace thaw::test
