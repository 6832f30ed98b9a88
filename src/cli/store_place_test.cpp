#include "cli/store_place.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <utility>

#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::cli {
namespace {

Result<std::string> asked_for(std::string store) {
  // Not on the stack, where GCC 12 takes the optional for uninitialized.
  const auto config = std::make_unique<Config>();
  config->store = std::move(store);
  return store_place(*config, {});
}

std::string place_of(const std::string& store) {
  const auto place = asked_for(store);
  EXPECT_TRUE(test::is_ok(place));
  return place ? *place : "";
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
  EXPECT_TRUE(test::fails_with(Code::invalid, asked_for("bogus://")));
}

TEST(StorePlace, ALinkThatLeadsToNothingLeadsThere) {
  const test::TempDir folder;
  const std::string real = std::filesystem::canonical(folder.path()).string();
  ASSERT_EQ(::symlink("none/file", folder.path_of("link").c_str()), 0);
  EXPECT_EQ(resolved_path(folder.path_of("link")), real + "/none/file");
}

}  // namespace
}  // namespace thaw::cli
