#include "app/locations.h"

#include <gtest/gtest.h>

#include <map>

namespace thaw::test {
namespace {

Locations with(std::map<std::string, std::string> variables) {
  return locate([variables = std::move(variables)](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  });
}

using Files = std::vector<std::string>;

TEST(LocationsTest, BelowHome) {
  const Locations found = with({{"HOME", "/h/ann"}});
  EXPECT_EQ(found.store, "/h/ann/.local/share/thaw/store");
  EXPECT_EQ(found.stat_cache, "/h/ann/.cache/thaw");
  EXPECT_EQ(found.config_files, (Files{"/h/ann/.config/thaw/thaw.toml", "/etc/thaw/thaw.toml"}));
  EXPECT_EQ(found.home, "/h/ann");
}

TEST(LocationsTest, XdgVariablesComeFirst) {
  const Locations found = with({{"HOME", "/h/ann"},
                                {"XDG_DATA_HOME", "/d/"},
                                {"XDG_CACHE_HOME", "/c"},
                                {"XDG_CONFIG_HOME", "/"}});
  EXPECT_EQ(found.store, "/d/thaw/store");
  EXPECT_EQ(found.stat_cache, "/c/thaw");
  EXPECT_EQ(found.config_files, (Files{"/thaw/thaw.toml", "/etc/thaw/thaw.toml"}));
}

TEST(LocationsTest, RelativeValuesAreIgnored) {
  const Locations found =
      with({{"HOME", "/h/ann"}, {"XDG_DATA_HOME", "d"}, {"XDG_CACHE_HOME", "./c"}});
  EXPECT_EQ(found.store, "/h/ann/.local/share/thaw/store");
  EXPECT_EQ(found.stat_cache, "/h/ann/.cache/thaw");
}

TEST(LocationsTest, WithoutHome) {
  for (const auto& variables : {std::map<std::string, std::string>{},
                                std::map<std::string, std::string>{{"HOME", "ann"}}}) {
    const Locations found = with(variables);
    EXPECT_EQ(found.store, "/var/lib/thaw/store");
    EXPECT_EQ(found.stat_cache, "/var/cache/thaw");
    EXPECT_EQ(found.config_files, (Files{"/etc/thaw/thaw.toml"}));
    EXPECT_EQ(found.home, std::nullopt);
  }
}

TEST(LocationsTest, GoldenRoot) {
  EXPECT_EQ(with({{"HOME", "/h/ann"}}).golden, "/h/ann/.local/share/thaw/golden");
  EXPECT_EQ(with({{"XDG_DATA_HOME", "/d"}}).golden, "/d/thaw/golden");
  EXPECT_EQ(with({{"XDG_DATA_HOME", "/d"}, {"THAW_GOLDEN_ROOT", "/g/"}}).golden, "/g");
  EXPECT_EQ(with({{"HOME", "/h/ann"}, {"THAW_GOLDEN_ROOT", "g"}}).golden,
            "/h/ann/.local/share/thaw/golden");
}

}  // namespace
}  // namespace thaw::test
