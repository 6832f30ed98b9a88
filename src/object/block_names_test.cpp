#include "object/block_names.h"

#include <gtest/gtest.h>

#include <set>

namespace thaw {
namespace {

ObjectKey key(std::string text) { return *ObjectKey::parse(std::move(text)); }

std::string name(const ObjectKey& object, const std::optional<ObjectVersion>& version,
                 uint64_t number = 0, uint32_t block_bytes = 4 << 20,
                 std::string_view store = "file:///store") {
  const auto names = BlockNames::of(store, object, version, block_bytes);
  return names ? names->block(number).text() : "not kept";
}

TEST(BlockNames, AreThoseOfTheFormat) {
  EXPECT_EQ(name(key("packs/3f/abc"), std::nullopt, 7, 4 << 20, ""),
            "blocks/2d06800538d394c2/packs/3f/abc/@/once-4096/7");
  // XXH3-128 of "e1\0" "12".
  const std::string versioned = name(key("images/x"), ObjectVersion{"e1", 12}, 0, 65'536, "");
  EXPECT_EQ(versioned.size(), std::string("blocks/2d06800538d394c2/images/x/@/-64/0").size() + 32);
  EXPECT_TRUE(versioned.starts_with("blocks/2d06800538d394c2/images/x/@/"));
  EXPECT_TRUE(versioned.ends_with("-64/0"));
}

TEST(BlockNames, WhatDiffersHasOtherNames) {
  const ObjectKey object = key("packs/3f/abc");
  const std::set<std::string> names = {
      name(object, std::nullopt),
      name(object, std::nullopt, 1),
      name(object, std::nullopt, 0, 65'536),
      name(object, std::nullopt, 0, 4 << 20, "file:///other"),
      name(key("packs/3f/abd"), std::nullopt),
      name(object, ObjectVersion{"e", 1}),
      name(object, ObjectVersion{"e", 12}),
      name(object, ObjectVersion{"e1", 2}),
      name(object, ObjectVersion{"f", 1}),
  };
  EXPECT_EQ(names.size(), 9U);
}

TEST(BlockNames, OnlyWhatCannotChangeIsKept) {
  for (const char* object : {"keys/k/@/1", "leases/x", "thaw.json", "packs", "packsy/x", "x"}) {
    EXPECT_FALSE(is_write_once(key(object))) << object;
    EXPECT_EQ(name(key(object), std::nullopt), "not kept") << object;
    EXPECT_NE(name(key(object), ObjectVersion{"e", 1}), "not kept") << object;
  }
  EXPECT_TRUE(is_write_once(key("manifests/x")));
  EXPECT_EQ(name(key("x"), ObjectVersion{"", 1}), "not kept") << "nothing tells its versions apart";
}

TEST(BlockNames, WhatIsTooLongIsNotKept) {
  const std::string long_segments =
      "packs/" + std::string(255, 'a') + "/" + std::string(255, 'b') + "/" + std::string(255, 'c');
  EXPECT_NE(name(key(long_segments), std::nullopt, UINT64_MAX / 65'536), "not kept");
  EXPECT_EQ(name(key(long_segments + "/" + std::string(200, 'd')), std::nullopt), "not kept");
  EXPECT_NE(name(key("x"), ObjectVersion{std::string(1024, 'e'), 1}), "not kept");
  EXPECT_EQ(name(key("x"), ObjectVersion{std::string(1025, 'e'), 1}), "not kept");
}

TEST(BlockNames, ANameSaysWhereItBelongs) {
  for (const char* object : {"packs/3f/ab", "x", "a/@/once-64/5", "build1/r/@", "@"}) {
    const ObjectVersion version{"e", 1};
    const auto names = BlockNames::of("store", key(object), version, 1 << 20);
    ASSERT_TRUE(names.has_value()) << object;
    const ObjectKey block = names->block(12);
    const auto place = place_of_block(block.text());
    ASSERT_TRUE(place.has_value()) << block.text();
    const std::string folder = block.text().substr(0, 23);
    EXPECT_TRUE(is_store_folder(folder));
    EXPECT_EQ(place->object, folder + "/" + object);
    const std::string first = std::string(object).substr(0, std::string(object).find('/'));
    EXPECT_EQ(place->group, folder + "/" + first);
    EXPECT_TRUE(place->rest.ends_with("-1024/12")) << place->rest;
    EXPECT_EQ(std::string(place->object) + "/@/" + std::string(place->rest), block.text());
  }
}

TEST(BlockNames, WhatIsNoBlockHasNoPlace) {
  const std::string folder = "blocks/0123456789abcdef";
  EXPECT_TRUE(place_of_block(folder + "/o/@/once-64/0").has_value());
  for (const std::string& name :
       {std::string(), std::string("/"), std::string("blocks/"), folder, folder + "/",
        folder + "/@/once-64/0", folder + "//@/once-64/0", folder + "/o/@/once-64/",
        folder + "/o/@/once-64", folder + "/o/@/-64/0", folder + "/o/@/once-/0",
        folder + "/o/@/once64/0", folder + "/o/once-64/0", folder + "/o@/once-64/0",
        folder + "/o/@/once-64/0x", folder + "x/o/@/once-64/0", folder + "o/@/once-64/0"}) {
    EXPECT_FALSE(place_of_block(name).has_value()) << name;
  }
}

}  // namespace
}  // namespace thaw
