#include "app/tier_settings.h"

#include <gtest/gtest.h>

#include "support/result_check.h"

namespace thaw::test {
namespace {

Result<std::vector<TierConfig>> tiers_of(const char* toml) {
  THAW_ASSIGN(const auto settings, settings_of_toml(toml, "t.toml"));
  TierSettings tiers;
  for (const Setting& each : settings) THAW_CHECK(tiers.apply(each));
  return tiers.finish();
}

TEST(TierSettingsTest, InTheOrderWritten) {
  const auto tiers = tiers_of(R"(
[[tier]]
kind = "disk"
path = "/var/cache/thaw-tier"
max_bytes = "50GB"
block_size = "1MiB"

[[tier]]
kind = "bucket"
url = "s3://near/tier?region=r"
fill = "off")");
  ASSERT_TRUE(is_ok(tiers));
  ASSERT_EQ(tiers->size(), 2U);
  EXPECT_EQ((*tiers)[0].kind, TierConfig::Kind::disk);
  EXPECT_EQ((*tiers)[0].place, "/var/cache/thaw-tier");
  EXPECT_EQ((*tiers)[0].max_bytes, 50'000'000'000U);
  EXPECT_EQ((*tiers)[0].block_bytes, 1U << 20);
  EXPECT_EQ((*tiers)[0].fill, TierFill::async);
  EXPECT_EQ((*tiers)[1].kind, TierConfig::Kind::bucket);
  EXPECT_EQ((*tiers)[1].place, "s3://near/tier?region=r");
  EXPECT_EQ((*tiers)[1].max_bytes, 0U);
  EXPECT_EQ((*tiers)[1].block_bytes, 4U << 20);
  EXPECT_EQ((*tiers)[1].fill, TierFill::off);
}

TEST(TierSettingsTest, RefusesWhatIsNoTierAndSaysWhere) {
  for (const char* toml : {
           "[[tier]]\nkind = \"tape\"",
           "[[tier]]\nkind = \"disk\"",
           "[[tier]]\npath = \"/a\"",
           "[[tier]]\nkind = \"disk\"\npath = \"a\"",
           "[[tier]]\nkind = \"disk\"\npath = \"/a\"\nurl = \"s3://b\"",
           "[[tier]]\nkind = \"bucket\"\npath = \"/a\"",
           "[[tier]]\nkind = \"disk\"\npath = \"/a\"\nblock_size = \"3MiB\"",
           "[[tier]]\nkind = \"disk\"\npath = \"/a\"\nblock_size = \"1KiB\"",
           "[[tier]]\nkind = \"disk\"\npath = \"/a\"\nblock_size = 4194304",
           "[[tier]]\nkind = \"disk\"\npath = \"/a\"\nmax_bytes = \"lots\"",
           "[[tier]]\nkind = \"disk\"\npath = \"/a\"\nfill = \"sync\"",
           "[[tier]]\nkind = \"disk\"\npath = \"/a\"\nsize = \"1GB\"",
           "[tier]\nkind = \"disk\"\npath = \"/a\"",
           "[tier.17]\nkind = \"disk\"\npath = \"/a\"",
           "[tier.1x]\nkind = \"disk\"\npath = \"/a\"",
       }) {
    const auto tiers = tiers_of(toml);
    ASSERT_TRUE(fails_with(Code::invalid, tiers)) << toml;
    EXPECT_TRUE(tiers.error().text().starts_with("t.toml:")) << tiers.error().text();
  }
}

TEST(TierSettingsTest, TheIndexOfADirectoryLiesBesideItsBlocks) {
  using Index = TierConfig::Index;
  const auto index_of = [](const std::string& kind, const std::string& index) {
    const std::string place = kind == "disk" ? "path = \"/a\"" : "url = \"s3://bucket\"";
    const std::string line = index.empty() ? "" : "\nindex = \"" + index + "\"";
    return tiers_of(("[[tier]]\nkind = \"" + kind + "\"\n" + place + line).c_str());
  };
  EXPECT_EQ(index_of("disk", "")->front().index, Index::sqlite);
  EXPECT_EQ(index_of("disk", "sqlite")->front().index, Index::sqlite);
  EXPECT_EQ(index_of("disk", "off")->front().index, Index::off);
  EXPECT_EQ(index_of("bucket", "")->front().index, Index::off);
  EXPECT_EQ(index_of("bucket", "off")->front().index, Index::off);
  const auto redis = index_of("bucket", "rediss://:sesame@cache:7000/2");
  ASSERT_TRUE(is_ok(redis));
  EXPECT_EQ(redis->front().index, Index::redis);
  EXPECT_EQ(redis->front().redis.place.host, "cache");
  EXPECT_EQ(index_of("disk", "redis://cache?prefix=machine7")->front().redis.prefix, "machine7");

  // Two machines' directories are two places, which no URL tells apart.
  EXPECT_TRUE(fails_with(Code::invalid, index_of("disk", "redis://cache")));
  EXPECT_TRUE(fails_with(Code::invalid, index_of("bucket", "sqlite")));
  for (const char* bad : {"on", "mysql://x", "redis://", "redis://:sesame@cache:x"}) {
    const auto refused = index_of("disk", bad);
    ASSERT_TRUE(fails_with(Code::invalid, refused)) << bad;
    EXPECT_TRUE(refused.error().text().starts_with("t.toml:")) << refused.error().text();
    EXPECT_EQ(refused.error().text().find("sesame"), std::string::npos) << refused.error().text();
  }
}

TEST(TierSettingsTest, ASlipIsMended) {
  const auto tiers = tiers_of("[[tier]]\nkind = \"disk\"\npath = \"/a\"\nmax_byte = \"1GB\"");
  ASSERT_TRUE(fails_with(Code::invalid, tiers));
  EXPECT_NE(tiers.error().text().find("max_bytes"), std::string::npos) << tiers.error().text();
}

}  // namespace
}  // namespace thaw::test
