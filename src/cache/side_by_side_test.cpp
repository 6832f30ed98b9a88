#include "cache/side_by_side.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/temp_dir.h"

namespace thaw::cache {
namespace {

using Texts = std::vector<std::string>;

class SideBySideTest : public testing::Test {
 protected:
  SideBySideTest() {
    std::filesystem::create_directories(place_.path_of("job/real"));
    std::filesystem::create_directories(place_.path_of("home"));
  }

  // A cache for each list of targets: c0, c1, …
  static std::vector<Definition> caches_of(const std::vector<Texts>& lists) {
    std::vector<Definition> caches;
    for (const Texts& texts : lists) {
      Definition cache;
      cache.name = "c" + std::to_string(caches.size());
      for (const std::string& text : texts) cache.targets.push_back(*Target::parse(text));
      caches.push_back(std::move(cache));
    }
    return caches;
  }
  bool fits(const std::vector<Texts>& lists) const {
    return check_side_by_side(caches_of(lists), anchors_).ok();
  }
  // Those that links block: "c1 c2".
  std::string blocked(const std::vector<Texts>& lists) const {
    const auto caches = caches_of(lists);
    const auto errors = blocked_by_links(caches, anchors_);
    std::string names;
    for (size_t i = 0; i < caches.size(); ++i) {
      if (errors[i]) names += (names.empty() ? "" : " ") + caches[i].name;
    }
    return names;
  }

  test::TempDir place_;
  const Anchors anchors_{place_.path_of("job"), place_.path_of("home")};
};

TEST_F(SideBySideTest, WhatDoesNotOverlap) {
  EXPECT_TRUE(fits({{"a", "b", "ab", "~/a", "~/.a", "a.b", "a-b"}}));
  EXPECT_TRUE(fits({{"a/x", "b"}, {"a/y"}, {"~/b", "~/a/x"}, {"../a"}}));
}

TEST_F(SideBySideTest, WhatOverlaps) {
  for (const Texts& pair : std::vector<Texts>{{"a", "a/b"},
                                              {"a/b", "a"},
                                              {"a/b/c/d", "a"},
                                              {"Cache", "cache"},
                                              {"Cache", "cache/x"},
                                              {"a", place_.path_of("job/a")},
                                              {"~/x", place_.path_of("home/x/y")},
                                              {"a", "../job/a"}}) {
    EXPECT_FALSE(fits({pair})) << pair[0] << ' ' << pair[1];
    // So they do in two caches, whatever lies between.
    EXPECT_FALSE(fits({{pair[0]}, {"a.b", "a-b", "z"}, {pair[1]}})) << pair[0] << ' ' << pair[1];
  }
}

TEST_F(SideBySideTest, WhatHoldsAnAnchor) {
  EXPECT_FALSE(fits({{place_.path()}}));
  EXPECT_FALSE(fits({{place_.path_of("home")}}));
  EXPECT_FALSE(fits({{place_.path_of("job")}}));
  EXPECT_FALSE(fits({{"../job"}}));
}

TEST_F(SideBySideTest, WithoutAHomeItsTargetsAreLeftOut) {
  const auto caches = caches_of({{"~/x", "a"}, {"~/x"}});
  EXPECT_TRUE(check_side_by_side(caches, {place_.path_of("job"), ""}).ok());
}

TEST_F(SideBySideTest, WhatALinkLeadsIntoBlocksTheLaterOne) {
  std::filesystem::create_symlink("real", place_.path_of("job/link"));
  std::filesystem::create_symlink("..", place_.path_of("job/up"));
  EXPECT_TRUE(fits({{"real"}, {"link/x"}, {"up"}}));
  EXPECT_EQ(blocked({{"real", "link/x"}}), "c0");
  EXPECT_EQ(blocked({{"real"}, {"link"}, {"other"}}), "c1");
  EXPECT_EQ(blocked({{"link/x"}, {"other"}, {"real"}}), "c2");
  EXPECT_EQ(blocked({{"up"}, {"other"}}), "c0");
}

TEST_F(SideBySideTest, ErrorsNameBothAndWhereTheyAreWritten) {
  const auto caches = parse_cache_file(
      "caches:\n"
      "  - {name: one, cache_key: [k], target_paths: [a, b/c]}\n"
      "  - {name: two, cache_key: [k], target_paths: [x, b]}\n",
      "f.yml");
  ASSERT_TRUE(caches.ok());
  const auto checked = check_side_by_side(*caches, anchors_);
  ASSERT_FALSE(checked.ok());
  EXPECT_EQ(checked.error().code(), Code::invalid);
  EXPECT_EQ(checked.error().text(),
            "f.yml:3:51: target path \"b\" of cache \"two\" overlaps \"b/c\" of cache \"one\" "
            "(f.yml:2:51)");
  const auto presets = parse_cache_file(
      "caches:\n  - preset: cargo\n  - {name: x, cache_key: [k], target_paths: [target/x]}\n", "f");
  ASSERT_TRUE(presets.ok());
  const auto clash = check_side_by_side(*presets, anchors_);
  ASSERT_FALSE(clash.ok());
  EXPECT_NE(clash.error().text().find("\"target\" of cache \"cargo\" (f:2:13)"), std::string::npos)
      << clash.error().text();
}

}  // namespace
}  // namespace thaw::cache
