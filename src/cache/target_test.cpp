#include "cache/target.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/temp_dir.h"

namespace thaw::cache {
namespace {

std::string clean(const std::string& text) {
  const auto target = Target::parse(text);
  return target.ok() ? target->text() : "";
}

TEST(TargetTest, IsCleaned) {
  EXPECT_EQ(clean("node_modules"), "node_modules");
  EXPECT_EQ(clean("./a//b/../c/"), "a/c");
  EXPECT_EQ(clean("../shared/x"), "../shared/x");
  EXPECT_EQ(clean("a/../../x"), "../x");
  EXPECT_EQ(clean("~/.npm/"), "~/.npm");
  EXPECT_EQ(clean("~/a/../b"), "~/b");
  EXPECT_EQ(clean("/opt//sdk/."), "/opt/sdk");
  EXPECT_EQ(clean("./~x"), "./~x");
}

TEST(TargetTest, IsAtItsAnchor) {
  const Anchors anchors{"/w/job", "/h/me"};
  EXPECT_EQ(*Target::parse("a/b")->path(anchors), "/w/job/a/b");
  EXPECT_EQ(*Target::parse("~/a")->path(anchors), "/h/me/a");
  EXPECT_EQ(*Target::parse("/a")->path(anchors), "/a");
  EXPECT_FALSE(Target::parse("~/a")->path({"/w/job", ""}).ok());
}

class SideBySideTest : public testing::Test {
 protected:
  SideBySideTest() {
    std::filesystem::create_directories(place_.path_of("job/real"));
    std::filesystem::create_directories(place_.path_of("home"));
  }
  bool fits(const std::vector<std::string>& texts) {
    std::vector<Target> targets;
    for (const std::string& text : texts) targets.push_back(*Target::parse(text));
    return check_side_by_side(targets, {place_.path_of("job"), place_.path_of("home")}).ok();
  }
  test::TempDir place_;
};

TEST_F(SideBySideTest, WhatDoesNotOverlap) { EXPECT_TRUE(fits({"a", "b", "ab", "~/a", "~/.a"})); }

TEST_F(SideBySideTest, WhatOverlaps) {
  EXPECT_FALSE(fits({"a", "a/b"}));
  EXPECT_FALSE(fits({"a/b", "a"}));
  EXPECT_FALSE(fits({"Cache", "cache"}));
  EXPECT_FALSE(fits({"Cache", "cache/x"}));
  EXPECT_FALSE(fits({"a", place_.path_of("job/a")}));
  EXPECT_FALSE(fits({"~/x", place_.path_of("home/x/y")}));
  EXPECT_FALSE(fits({"a", "../job/a"}));
}

TEST_F(SideBySideTest, WhatALinkLeadsInto) {
  std::filesystem::create_symlink("real", place_.path_of("job/link"));
  EXPECT_FALSE(fits({"real", "link/x"}));
  EXPECT_FALSE(fits({"real", "link"}));
  std::filesystem::create_symlink("..", place_.path_of("job/up"));
  EXPECT_FALSE(fits({"up"}));
}

TEST_F(SideBySideTest, WhatHoldsAnAnchor) {
  EXPECT_FALSE(fits({place_.path()}));
  EXPECT_FALSE(fits({place_.path_of("home")}));
  EXPECT_FALSE(fits({place_.path_of("job")}));
  EXPECT_FALSE(fits({"../job"}));
}

}  // namespace
}  // namespace thaw::cache
