#include "cli/store_place.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::cli {
namespace {

std::string place_of(const std::string& store) {
  Config config;
  config.store = store;
  const auto place = store_place(config, {});
  EXPECT_TRUE(test::is_ok(place));
  return place.value_or("");
}

TEST(StorePlace, IsOneForAllSpellingsOfADirectory) {
  const test::TempDir folder;
  const std::string store = std::filesystem::canonical(folder.path()).string() + "/s";
  ASSERT_EQ(::symlink("s", folder.path_of("link").c_str()), 0);
  for (const std::string& each :
       {store, store + "/", folder.path_of("./x/../s"), "file://" + store, folder.path_of("link")})
    EXPECT_EQ(place_of(each), store) << each;
  EXPECT_NE(place_of(folder.path_of("t")), store);
}

TEST(StorePlace, OfABucketIsItsName) {
  EXPECT_EQ(place_of("s3://bucket/prefix?region=eu-central-1"),
            "s3://bucket/prefix?region=eu-central-1");
  Config config;
  config.store = "bogus://";
  EXPECT_TRUE(test::fails_with(Code::invalid, store_place(config, {})));
}

TEST(StorePlace, ALinkThatLeadsToNothingLeadsThere) {
  const test::TempDir folder;
  const std::string real = std::filesystem::canonical(folder.path()).string();
  ASSERT_EQ(::symlink("none/file", folder.path_of("link").c_str()), 0);
  EXPECT_EQ(resolved_path(folder.path_of("link")), real + "/none/file");
}

}  // namespace
}  // namespace thaw::cli
