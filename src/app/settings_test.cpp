#include "app/settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/fd.h"
#include "support/result_check.h"
#include "support/temp_dir.h"

namespace thaw::test {
namespace {

TEST(SettingsTest, TomlKeepsNamesTypesAndLines) {
  const auto settings = settings_of_toml(
      "store = \"/s\"\n\n[policy]\nshrink_below = 0.25\nallow_empty = true\n[limits]\nthreads = "
      "3\n",
      "t.toml");
  ASSERT_TRUE(is_ok(settings));
  ASSERT_EQ(settings->size(), 4U);
  for (const Setting& setting : *settings) {
    if (setting.name == "store") {
      EXPECT_EQ(std::get<std::string>(setting.value), "/s");
      EXPECT_EQ(setting.where, "t.toml:1");
    } else if (setting.name == "policy.shrink_below") {
      EXPECT_EQ(std::get<double>(setting.value), 0.25);
      EXPECT_EQ(setting.where, "t.toml:4");
    } else if (setting.name == "policy.allow_empty") {
      EXPECT_TRUE(std::get<bool>(setting.value));
    } else {
      EXPECT_EQ(setting.name, "limits.threads");
      EXPECT_EQ(std::get<int64_t>(setting.value), 3);
      EXPECT_EQ(setting.where, "t.toml:7");
    }
  }
}

TEST(SettingsTest, FaultyTomlIsNamedByItsLine) {
  const auto settings = settings_of_toml("store = \"/s\"\ntimeout = = 3\n", "t.toml");
  ASSERT_TRUE(fails_with(Code::invalid, settings));
  EXPECT_TRUE(settings.error().text().starts_with("t.toml:2: ")) << settings.error().text();
  EXPECT_TRUE(fails_with(Code::invalid, settings_of_toml("store = [\"/s\"]", "t")));
  EXPECT_TRUE(fails_with(Code::invalid, settings_of_toml("store = 1979-05-27", "t")));
  EXPECT_TRUE(fails_with(Code::invalid, settings_of_toml("\xff = 1", "t")));
  EXPECT_TRUE(fails_with(Code::invalid, settings_of_toml("a.b.c.d.e.f.g.h.i.j.k = 1", "t")));
}

TEST(SettingsTest, ListsOfTablesAreNumberedSections) {
  for (const auto& settings :
       {settings_of_toml("[[tier]]\npath = \"/a\"\n[[tier]]\npath = \"/b\"\n", "t"),
        settings_of_json(R"({"tier": [{"path": "/a"}, {"path": "/b"}]})", "j")}) {
    ASSERT_TRUE(is_ok(settings));
    ASSERT_EQ(settings->size(), 2U);
    EXPECT_EQ((*settings)[0].name, "tier.1.path");
    EXPECT_EQ((*settings)[1].name, "tier.2.path");
    EXPECT_EQ(std::get<std::string>((*settings)[1].value), "/b");
  }
  EXPECT_TRUE(fails_with(Code::invalid, settings_of_toml("tier = []", "t")));
  EXPECT_TRUE(fails_with(Code::invalid, settings_of_toml("tier = [1]", "t")));
  EXPECT_TRUE(fails_with(Code::invalid, settings_of_json(R"({"tier": []})", "j")));
  EXPECT_TRUE(fails_with(Code::invalid, settings_of_json(R"({"tier": [[{}]]})", "j")));
  std::string many = R"({"tier": [{})";
  for (int i = 0; i < 256; ++i) many += ", {}";
  EXPECT_TRUE(fails_with(Code::invalid, settings_of_json(many + "]}", "j")));
}

TEST(SettingsTest, Json) {
  const auto settings = settings_of_json(
      R"({"store": "/s", "timeout": null, "limits": {"threads": 18446744073709551615}})", "j");
  ASSERT_TRUE(is_ok(settings));
  ASSERT_EQ(settings->size(), 2U);
  EXPECT_EQ((*settings)[0].name, "limits.threads");
  EXPECT_EQ(std::get<int64_t>((*settings)[0].value), INT64_MAX);
  EXPECT_EQ((*settings)[1].name, "store");
}

TEST(SettingsTest, FaultyJsonIsNotQuoted) {
  for (const char* text : {"", "[]", "3", "{\"store\": sesame}", "{\"store\": \"sesame",
                           "{\"store\": [1]}", "{\"a\": \"\xff\"}"}) {
    const auto settings = settings_of_json(text, "fd:3");
    ASSERT_TRUE(fails_with(Code::invalid, settings)) << text;
    EXPECT_EQ(settings.error().text().find("sesame"), std::string::npos) << settings.error().text();
  }
}

TEST(SettingsTest, DeepJsonIsRefused) {
  const std::string text = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_TRUE(fails_with(Code::invalid, settings_of_json(text, "j")));
}

TEST(SettingsTest, SourcesAreFilesAndDescriptors) {
  const TempDir folder;
  write_text(folder.path_of("c"), "store = 1");
  EXPECT_EQ(read_config_source(Context(), folder.path_of("c")).value(), "store = 1");

  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  ASSERT_TRUE(is_ok(write_all(writer.get(), as_bytes("{}"), "pipe")));
  writer.reset();
  EXPECT_EQ(read_config_source(Context(), "fd:" + std::to_string(reader.get())).value(), "{}");

  for (const char* source : {"fd:", "fd:x", "fd:-1", "fd:3x", "fd:99999999999"}) {
    EXPECT_TRUE(fails_with(Code::invalid, read_config_source(Context(), source))) << source;
  }
  EXPECT_FALSE(read_config_source(Context(), "fd:1000000").ok());
  EXPECT_TRUE(fails_with(Code::not_found, read_config_source(Context(), folder.path_of("none"))));
}

TEST(SettingsTest, JsonNamesAreGivenOnce) {
  for (const char* text :
       {R"({"store": "a", "store": "b"})", R"({"save": {"x": 1, "x": 2}})",
        R"({"s3": {"x": 1}, "store": "a", "s3": {"y": 1}})", R"({"s3": {"x": 1}, "s3.x": 1})"}) {
    const auto settings = settings_of_json(text, "here");
    ASSERT_FALSE(settings.ok()) << text;
    EXPECT_NE(settings.error().text().find("more than once"), std::string::npos) << text;
  }
  EXPECT_TRUE(is_ok(settings_of_json(R"({"a": {"x": 1}, "b": {"x": 1}, "x": 1})", "here")));
}

TEST(SettingsTest, SourcesAreBounded) {
  const TempDir folder;
  write_text(folder.path_of("c"), std::string(kConfigBytes + 1, '#'));
  EXPECT_TRUE(fails_with(Code::exhausted, read_config_source(Context(), folder.path_of("c"))));
  const UniqueFd fd = open_path(folder.path_of("c"), O_RDONLY).value();
  EXPECT_TRUE(
      fails_with(Code::exhausted, read_config_source(Context(), "fd:" + std::to_string(fd.get()))));
}

}  // namespace
}  // namespace thaw::test
