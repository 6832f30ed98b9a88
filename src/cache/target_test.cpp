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

TEST(TargetTest, ALinkStandsForWhatItLeadsTo) {
  const test::TempDir place;
  std::filesystem::create_directories(place.path_of("real/folder"));
  std::filesystem::create_symlink("real", place.path_of("link"));
  std::filesystem::create_symlink("link", place.path_of("twice"));
  std::filesystem::create_symlink("nowhere", place.path_of("dangling"));
  const Anchors anchors{place.path(), ""};
  const auto resolved = [&](const char* text) {
    const auto path = Target::parse(text)->resolved_path(anchors);
    if (!path) return std::string(name_of(path.error().code()));
    return std::filesystem::relative(*path, std::filesystem::canonical(place.path())).string();
  };
  EXPECT_EQ(resolved("real"), "real");
  EXPECT_EQ(resolved("link"), "real");
  EXPECT_EQ(resolved("twice"), "real");
  EXPECT_EQ(resolved("missing"), "missing");
  EXPECT_EQ(resolved("dangling"), "denied");
}

}  // namespace
}  // namespace thaw::cache
