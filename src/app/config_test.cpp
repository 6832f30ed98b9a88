#include "app/config.h"

#include <gtest/gtest.h>

#include <map>

#include "app/open_store.h"
#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::test {
namespace {

using std::chrono::milliseconds;
using Variables = std::map<std::string, std::string>;

// A configuration in the making, with a folder for its files.
class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() {
    locations_.config_files = {folder_.path_of("user.toml"), folder_.path_of("etc.toml")};
  }

  Result<Config> load() {
    return load_config(
        Context(), sources_,
        [this](const char* name) -> std::optional<std::string> {
          const auto found = variables_.find(name);
          if (found == variables_.end()) return std::nullopt;
          return found->second;
        },
        locations_);
  }
  // The text of the error.
  std::string fault() {
    const auto config = load();
    return config ? "no fault" : config.error().text();
  }
  std::string write(const char* name, std::string_view text) {
    write_text(folder_.path_of(name), text);
    return folder_.path_of(name);
  }
  void flag(const char* name, SettingValue value) {
    sources_.flags.push_back({name, std::move(value), "--flag"});
  }

  const TempDir folder_;
  ConfigSources sources_;
  Variables variables_;
  Locations locations_;
};

TEST_F(ConfigTest, PathsOfRunComeWithWhatIsTheirOwn) {
  write("user.toml", "[run]\nkey = \"k\"\n[[run.path]]\npath = \"/a\"\n");
  auto config = load();
  ASSERT_TRUE(is_ok(config));
  EXPECT_EQ(config->run_key, "k");
  ASSERT_EQ(config->run_paths.size(), 1U);
  sources_.json_text =
      R"({"run": {"path": [{"path": "/b", "key": "x"}, {"path": "/c", "store": "s3://b/p",
          "access_key_id": "id", "secret_access_key": "sesame"}]}})";
  config = load();
  ASSERT_TRUE(is_ok(config));
  ASSERT_EQ(config->run_paths.size(), 2U);
  EXPECT_EQ(config->run_paths[0].key, "x");
  EXPECT_EQ(config->run_paths[1].store, "s3://b/p");
  EXPECT_EQ(config->run_paths[1].credentials.access_key_id, "id");
  for (const char* text :
       {R"({"run": {"path": [{"key": "x"}]}})", R"({"run": {"path": [{"path": ""}]}})",
        R"({"run": {"path": [{"path": "/a", "access_key_id": "id"}]}})",
        R"({"run": {"path": [{"path": "/a", "colour": "red"}]}})",
        R"({"run": {"path": {"a": "b"}}})", R"({"run": {"key": ""}})"}) {
    sources_.json_text = text;
    EXPECT_TRUE(fails_with(Code::invalid, load())) << text;
  }
}

TEST_F(ConfigTest, TheDecoCacheIsUnderstoodInTheEnvironmentAndInJson) {
  variables_ = {{"DECO_CACHE_S3_BUCKET", "b"}, {"DECO_CACHE_S3_KEY", "k"}};
  auto config = load();
  ASSERT_TRUE(is_ok(config));
  EXPECT_EQ(config->deco.bucket, "b");
  EXPECT_EQ(config->deco.region, "us-west-2");
  sources_.json_text = R"({"DECO_CACHE_S3_KEY": "other", "DECO_CACHE_S3_REGION": "eu-central-1"})";
  config = load();
  ASSERT_TRUE(is_ok(config));
  EXPECT_EQ(config->deco.key, "other");
  EXPECT_EQ(config->deco.region, "eu-central-1");
}

TEST_F(ConfigTest, TiersOfAHigherSourceReplaceThoseOfALowerOne) {
  write("user.toml",
        "[[tier]]\nkind = \"disk\"\npath = \"/a\"\n[[tier]]\nkind = \"disk\"\npath = \"/b\"\n");
  auto config = load();
  ASSERT_TRUE(is_ok(config));
  ASSERT_EQ(config->tiers.size(), 2U);
  EXPECT_EQ(config->tiers[0].place, "/a");
  sources_.json = write("more.json", R"({"tier": [{"kind": "disk", "path": "/c"}]})");
  config = load();
  ASSERT_TRUE(is_ok(config));
  ASSERT_EQ(config->tiers.size(), 1U);
  EXPECT_EQ(config->tiers[0].place, "/c");
  flag("tiers", false);
  config = load();
  ASSERT_TRUE(is_ok(config));
  EXPECT_TRUE(config->tiers.empty());
}

TEST_F(ConfigTest, Defaults) {
  const auto config = load();
  ASSERT_TRUE(is_ok(config));
  EXPECT_EQ(config->store, std::nullopt);
  EXPECT_EQ(config->timeout_ms, std::nullopt);
  EXPECT_FALSE(config->advisory);
  EXPECT_EQ(config->log_level, log::Level::warning);
  EXPECT_EQ(config->compression_level, 3);
  EXPECT_EQ(config->unchanged_by, UnchangedBy::all);
  EXPECT_FALSE(config->policy.allow_empty);
  EXPECT_EQ(config->policy.shrink_below, 0.5);
  EXPECT_GE(config->threads, 1U);
  EXPECT_TRUE(config->stat_cache);
}

TEST_F(ConfigTest, EverySettingOfAFile) {
  sources_.file = write("c.toml", R"(
store = "/s"
timeout = "1m30s"
advisory = true
log_level = "debug"
stat_cache = "off"
[save]
compression_level = 9
unchanged_by = "content"
[policy]
allow_empty = true
allow_shrink = true
shrink_below = 0.25
accept_after_refusals = 7
[limits]
threads = 5
)");
  const auto config = load();
  ASSERT_TRUE(is_ok(config));
  EXPECT_EQ(config->store, "/s");
  EXPECT_EQ(config->timeout_ms, milliseconds(90'000));
  EXPECT_TRUE(config->advisory);
  EXPECT_EQ(config->log_level, log::Level::debug);
  EXPECT_FALSE(config->stat_cache);
  EXPECT_EQ(config->compression_level, 9);
  EXPECT_EQ(config->unchanged_by, UnchangedBy::content);
  EXPECT_TRUE(config->policy.allow_empty);
  EXPECT_TRUE(config->policy.allow_shrink);
  EXPECT_EQ(config->policy.shrink_below, 0.25);
  EXPECT_EQ(config->policy.accept_after_refusals, 7U);
  EXPECT_EQ(config->threads, 5U);
}

// Each source in turn is taken away, the highest first.
TEST_F(ConfigTest, PrecedenceOfTheStore) {
  write("etc.toml", "store = \"/etc-file\"");
  write("user.toml", "store = \"/user-file\"");
  variables_["THAW_CONFIG"] = write("env.toml", "store = \"/env-file\"");
  sources_.file = write("flag.toml", "store = \"/flag-file\"");
  variables_["THAW_STORE"] = "/env";
  sources_.json = write("c.json", R"({"store": "/json"})");
  flag("store", "/flag");

  EXPECT_EQ(load()->store, "/flag");
  sources_.flags.clear();
  EXPECT_EQ(load()->store, "/json");
  sources_.json.reset();
  EXPECT_EQ(load()->store, "/env");
  variables_.erase("THAW_STORE");
  EXPECT_EQ(load()->store, "/flag-file");
  sources_.file.reset();
  EXPECT_EQ(load()->store, "/env-file");
  variables_.erase("THAW_CONFIG");
  EXPECT_EQ(load()->store, "/user-file");
  locations_.config_files.erase(locations_.config_files.begin());
  EXPECT_EQ(load()->store, "/etc-file");
  locations_.config_files.clear();
  EXPECT_EQ(load()->store, std::nullopt);
}

TEST_F(ConfigTest, OneFileIsReadNotTwo) {
  write("etc.toml", "timeout = \"5s\"");
  write("user.toml", "store = \"/user-file\"");
  EXPECT_EQ(load()->timeout_ms, std::nullopt);
}

TEST_F(ConfigTest, Advisory) {
  variables_["THAW_ADVISORY"] = "1";
  EXPECT_TRUE(load()->advisory);
  EXPECT_EQ(load()->timeout_ms, milliseconds(60'000));
  flag("timeout", "none");
  EXPECT_EQ(load()->timeout_ms, std::nullopt);
  flag("timeout", "5s");
  EXPECT_EQ(load()->timeout_ms, milliseconds(5000));
  variables_["THAW_ADVISORY"] = "off";
  EXPECT_FALSE(load()->advisory);
  flag("advisory", true);
  EXPECT_TRUE(load()->advisory);
  variables_["THAW_ADVISORY"] = "maybe";
  EXPECT_EQ(fault(), "THAW_ADVISORY: advisory: expected \"on\" or \"off\"");
}

TEST_F(ConfigTest, NamedFilesMustExist) {
  sources_.file = folder_.path_of("none.toml");
  EXPECT_NE(fault().find("--config: "), std::string::npos);
  sources_.file.reset();
  variables_["THAW_CONFIG"] = folder_.path_of("none.toml");
  EXPECT_NE(fault().find("THAW_CONFIG: "), std::string::npos);
  variables_.clear();
  sources_.json = folder_.path_of("none.json");
  EXPECT_NE(fault().find("--config-json: "), std::string::npos);
}

TEST_F(ConfigTest, UnknownNamesAreRefusedWithTheirPlace) {
  sources_.file = write("c.toml", "store = \"/s\"\n[policy]\nalow_empty = true\n");
  EXPECT_EQ(fault(), *sources_.file +
                         ":3: unknown setting \"policy.alow_empty\"; did you mean "
                         "\"policy.allow_empty\"?");
  sources_.file.reset();
  sources_.json = write("c.json", R"({"colour": "red"})");
  EXPECT_EQ(fault(), *sources_.json + ": unknown setting \"colour\"");
}

TEST_F(ConfigTest, WrongValuesAreRefused) {
  for (const char* text :
       {"store = \"\"", "store = 3", "timeout = 30", "timeout = \"30\"", "advisory = 1",
        "log_level = \"loud\"", "stat_cache = \"perhaps\"", "[save]\ncompression_level = 0",
        "[save]\ncompression_level = 20", "[save]\ncompression_level = 3.5",
        "[save]\nunchanged_by = \"size\"", "[policy]\nshrink_below = 1.5",
        "[policy]\nshrink_below = nan", "[policy]\nshrink_below = \"half\"",
        "[policy]\naccept_after_refusals = -1", "[limits]\nthreads = 0",
        "[limits]\nthreads = 100000", "limits = 3", "[store]\nx = 1"}) {
    sources_.file = write("c.toml", text);
    EXPECT_TRUE(fails_with(Code::invalid, load())) << text;
    // Also where a higher source says otherwise.
    flag("store", "/s");
    EXPECT_FALSE(load().ok()) << text;
  }
}

TEST_F(ConfigTest, ValuesAreNotRepeatedInMessages) {
  sources_.json = write("c.json", R"({"log_level": "sesame"})");
  EXPECT_EQ(fault().find("sesame"), std::string::npos) << fault();
}

TEST(OpenStoreTest, TiersStandInTheOrderWritten) {
  const TempDir folder;
  const Context process;
  Config config;
  config.store = folder.path_of("store");
  TierConfig near;
  near.place = folder.path_of("near");
  TierConfig far;
  far.kind = TierConfig::Kind::bucket;
  far.place = "s3://tier/x?endpoint=http://localhost:1";
  config.tiers = {near, far};
  const Locations locations;
  const auto opened = open_store(config, locations, process_environment(), process);
  ASSERT_TRUE(is_ok(opened));
  EXPECT_EQ(opened->store->describe(), "disk(" + near.place +
                                           ") over s3(http://localhost:1/tier/x) over retrying "
                                           "over metered over disk(" +
                                           folder.path_of("store") + ")");
  ASSERT_EQ(opened->tiers.size(), 2U);
  EXPECT_EQ(opened->tiers[0].name, "disk(" + near.place + ")");
}

TEST(OpenStoreTest, ATierNamesItsIndexWithoutItsPassword) {
  const TempDir folder;
  const Context process;
  Config config;
  config.store = folder.path_of("store");
  TierConfig near;
  near.place = folder.path_of("near");
  near.index = TierConfig::Index::sqlite;
  TierConfig far;
  far.kind = TierConfig::Kind::bucket;
  far.place = "s3://tier/x?endpoint=http://localhost:1";
  far.index = TierConfig::Index::redis;
  far.redis = parse_redis_url("rediss://user:sesame@cache:7000/2").value();
  config.tiers = {near, far};
  const Locations locations;
  const auto opened = open_store(config, locations, process_environment(), process);
  ASSERT_TRUE(is_ok(opened));
  const std::string chain = opened->store->describe();
  EXPECT_TRUE(chain.starts_with("disk(" + near.place + ") with sqlite(" + near.place +
                                "/index.sqlite) over s3(http://localhost:1/tier/x) with "
                                "rediss(cache:7000/2) under {thaw-"))
      << chain;
  EXPECT_EQ(chain.find("sesame"), std::string::npos);
  EXPECT_EQ(chain.find("user"), std::string::npos);
}

TEST(OpenStoreTest, ATierInThePlaceOfAnotherIsRefused) {
  const TempDir folder;
  const Context process;
  const Locations locations;
  auto refused = [&](const char* store,
                     std::vector<std::pair<TierConfig::Kind, std::string>> places) {
    Config config;
    config.store = store[0] == '/' ? folder.path_of(store + 1) : store;
    for (auto& [kind, place] : places) {
      TierConfig tier;
      tier.kind = kind;
      tier.place = kind == TierConfig::Kind::disk ? folder.path_of(place) : place;
      config.tiers.push_back(tier);
    }
    return fails_with(Code::invalid, open_store(config, locations, process_environment(), process));
  };
  constexpr auto kDisk = TierConfig::Kind::disk;
  constexpr auto kBucket = TierConfig::Kind::bucket;
  EXPECT_TRUE(refused("/store", {{kDisk, "store"}}));
  EXPECT_TRUE(refused("/store", {{kDisk, "store/tier"}}));
  EXPECT_TRUE(refused("/store/a", {{kDisk, "store"}}));
  EXPECT_TRUE(refused("/store", {{kDisk, "tier"}, {kDisk, "tier"}}));
  EXPECT_TRUE(refused("/store", {{kDisk, "tier"}, {kDisk, "x/../tier/"}}));
  EXPECT_TRUE(refused("s3://bucket/a", {{kBucket, "s3://bucket/a"}}));
  EXPECT_TRUE(refused("s3://bucket/a", {{kBucket, "s3://bucket"}}));
  EXPECT_TRUE(refused("/store", {{kBucket, "s3://bucket"}, {kBucket, "s3://bucket/x"}}));
  EXPECT_TRUE(refused("/store", {{kBucket, "file:///x"}}));
  EXPECT_TRUE(refused("/store", {{kBucket, "s3://no"}}));
  write_text(folder.path_of("foreign.txt"), "x");
  EXPECT_TRUE(refused("/store", {{kDisk, ""}}));
}

TEST(OpenStoreTest, NamesTheStackAndTheDirectory) {
  const TempDir folder;
  const Context process;
  Config config;
  Locations locations;
  locations.store = folder.path_of("embedded");
  const auto embedded = open_store(config, locations, process_environment(), process);
  ASSERT_TRUE(is_ok(embedded));
  EXPECT_EQ(embedded->store->describe(),
            "retrying over metered over disk(" + folder.path_of("embedded") + ")");
  EXPECT_EQ(embedded->local_path, folder.path_of("embedded"));

  config.store = "file://" + folder.path_of("x/../named/");
  const auto named = open_store(config, locations, process_environment(), process);
  ASSERT_TRUE(is_ok(named));
  EXPECT_EQ(named->local_path, folder.path_of("named"));

  config.store = "s3://bucket/x?region=eu-west-1";
  const auto bucket = open_store(config, locations, process_environment(), process);
  ASSERT_TRUE(is_ok(bucket));
  EXPECT_EQ(bucket->store->describe(),
            "retrying over metered over s3(https://bucket.s3.eu-west-1.amazonaws.com/x)");
  EXPECT_FALSE(bucket->local_path);

  config.store = "s3://no";
  EXPECT_TRUE(
      fails_with(Code::invalid, open_store(config, locations, process_environment(), process)));
}

}  // namespace
}  // namespace thaw::test
