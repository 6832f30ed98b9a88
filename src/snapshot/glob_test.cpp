#include "snapshot/glob.h"

#include <gtest/gtest.h>

namespace thaw {
namespace {

bool matches(const char* pattern, std::string_view path) { return Globs({pattern}).match(path); }

TEST(Globs, ANameMatchesAtAnyDepth) {
  EXPECT_TRUE(matches("*.o", "a.o"));
  EXPECT_TRUE(matches("*.o", "x/y/a.o"));
  EXPECT_TRUE(matches(".git", "x/.git"));
  EXPECT_FALSE(matches(".git", "x/.gitignore"));
  EXPECT_FALSE(matches("a.o", "a.o/b"));
}

TEST(Globs, ASlashAnchorsAtTheRoot) {
  EXPECT_TRUE(matches("/build", "build"));
  EXPECT_FALSE(matches("/build", "x/build"));
  EXPECT_TRUE(matches("build/*.o", "build/a.o"));
  EXPECT_FALSE(matches("build/*.o", "build/x/a.o"));
  EXPECT_FALSE(matches("build/*.o", "x/build/a.o"));
}

TEST(Globs, TwoStarsStandForAnyNumberOfFolders) {
  EXPECT_TRUE(matches("a/**/b", "a/b"));
  EXPECT_TRUE(matches("a/**/b", "a/x/y/b"));
  EXPECT_TRUE(matches("**/b", "b"));
  EXPECT_TRUE(matches("a/**", "a/x/y"));
  EXPECT_FALSE(matches("a/**/b", "a/x/c"));
}

TEST(Globs, ManyTwoStarsCostNoMoreThanTheProductOfTheLengths) {
  std::string pattern;
  std::string path;
  for (int i = 0; i < 40; ++i) {
    pattern += "**/a/";
    path += "a/";
  }
  EXPECT_FALSE(Globs({pattern + "b"}).match(path + "c"));
}

TEST(Globs, BytesThatAreNoTextMatchToo) { EXPECT_TRUE(matches("*.bin", "x\xff\xfe.bin")); }

TEST(Globs, ADotIsNoSegment) {
  EXPECT_TRUE(matches("./src", "src"));
  EXPECT_FALSE(matches("./src", "a/src"));
  EXPECT_TRUE(matches("a/./b", "a/b"));
  EXPECT_TRUE(matches(".git", "a/.git"));
}

TEST(CheckGlob, RefusesSlips) {
  for (const char* good :
       {"*.o", "[ab]", "[]]", "[!]a]", "[^]]", "[[]ab]", "[[:alpha:]]", "a/[b]/**", "\\[", "\\\\",
        "[a\\]]", "/build", "]", "./src", "...", ".*"}) {
    EXPECT_TRUE(check_glob(good).ok()) << good;
  }
  for (const char* bad : {"", "/", "//", "[", "a[", "[]", "[!]", "[[:alpha:]", "[a/b]", "a\\",
                          "x/[", "[a\\]", "..", "../x", "a/../b", ".", "./"}) {
    EXPECT_FALSE(check_glob(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace thaw
