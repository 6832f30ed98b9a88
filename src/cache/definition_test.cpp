#include "cache/definition.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "support/temp_dir.h"
#include "support/test_seed.h"

namespace thaw::cache {
namespace {

std::string error_of(const std::string& text) {
  const auto parsed = parse_cache_file(text, "f.yml");
  return parsed.ok() ? "" : parsed.error().text();
}

std::vector<std::string> targets_of(const Definition& definition) {
  std::vector<std::string> texts;
  for (const Target& target : definition.targets) texts.push_back(target.text());
  return texts;
}

using Texts = std::vector<std::string>;

TEST(DefinitionTest, ReadsAFileOfBuildkites) {
  const auto caches = parse_cache_file(R"(# comments are fine
caches:
  - name: "npm"
    cache_key:
      - "npm"
      - agent: "os"
      - agent: "arch"
        fallback_limit: true
      - checksum: "package-lock.json"
    target_paths:
      - "~/.npm"
  - name: build
    cache_key: [build, {checksum: ["src/**", index.html]}]
    target_paths: [dist]
)",
                                       "f.yml");
  ASSERT_TRUE(caches.ok()) << caches.error().text();
  ASSERT_EQ(caches->size(), 2U);
  const Definition& npm = caches->front();
  EXPECT_EQ(npm.name, "npm");
  EXPECT_EQ(npm.key.size(), 4U);
  EXPECT_EQ(npm.required_parts, 3U);
  EXPECT_EQ(targets_of(npm), Texts{"~/.npm"});
  EXPECT_EQ(std::get<ChecksumPart>(caches->at(1).key[1]).patterns, (Texts{"src/**", "index.html"}));
  EXPECT_EQ(caches->at(1).required_parts, 2U);
}

TEST(DefinitionTest, TakesTheLimitAsAPart) {
  const auto caches = parse_cache_file(
      "caches: [{name: a, cache_key: [x, {fallback_limit: true}, y], target_paths: [t]}]", "f");
  ASSERT_TRUE(caches.ok());
  EXPECT_EQ(caches->front().key.size(), 2U);
  EXPECT_EQ(caches->front().required_parts, 1U);
}

TEST(DefinitionTest, KnowsAnchorsAndMerges) {
  const auto caches = parse_cache_file(R"(x-shared: &shared
  cache_key: &key [v1, {agent: os}]
  target_paths: [a]
caches:
  - {name: one, <<: *shared}
  - {name: two, <<: [*shared], target_paths: [b]}
  - {name: three, cache_key: *key, target_paths: [c]}
)",
                                       "f");
  ASSERT_TRUE(caches.ok()) << caches.error().text();
  EXPECT_EQ(targets_of(caches->at(0)), Texts{"a"});
  EXPECT_EQ(targets_of(caches->at(1)), Texts{"b"});
  EXPECT_EQ(caches->at(2).key.size(), 2U);
}

TEST(DefinitionTest, Presets) {
  const auto caches = parse_cache_file(
      "caches: [{preset: npm}, {preset: cargo, name: rust, target_paths: [t]}, {preset: pip}]",
      "f");
  ASSERT_TRUE(caches.ok()) << caches.error().text();
  EXPECT_EQ(caches->at(0).name, "npm");
  EXPECT_EQ(caches->at(0).required_parts, 3U);
  EXPECT_EQ(caches->at(1).name, "rust");
  EXPECT_EQ(targets_of(caches->at(1)), Texts{"t"});
  EXPECT_NE(error_of("caches: [{preset: maven}]").find("npm, cargo or pip"), std::string::npos);
}

TEST(DefinitionTest, ErrorsNameLineAndColumn) {
  EXPECT_EQ(error_of("caches:\n  - name: a-b\n"),
            "f.yml:2:11: a cache's name has 1 to 64 letters, digits and _");
  EXPECT_EQ(error_of("caches:\n  - name: a\n    cache_key: [x, {agent: cpu}]\n"),
            "f.yml:3:28: agent is os, arch, branch, step or pipeline");
  EXPECT_EQ(error_of("caches:\n  - name: a\n    paths: [x]\n").substr(0, 11), "f.yml:3:5: ");
  EXPECT_EQ(error_of("caches:\n  - name: a\n    cache_key: [x, {checksum: [a.txt, '[a']}]\n")
                .substr(0, 12),
            "f.yml:3:39: ");
  EXPECT_EQ(
      error_of("caches:\n  - name: a\n    cache_key: [x, {checksum: '*/../x'}]\n").substr(0, 12),
      "f.yml:3:31: ");
  std::string braces;
  for (int i = 0; i < 20; ++i) braces += "{a,b}";
  EXPECT_NE(error_of("caches:\n  - name: a\n    cache_key: [{checksum: '" + braces + "'}]\n")
                .find("f.yml:3:28: pattern \""),
            std::string::npos);
  EXPECT_EQ(error_of("caches: [\n").substr(0, 6), "f.yml:");
  EXPECT_EQ(error_of("a: b: c").substr(0, 8), "f.yml:1:");
}

TEST(DefinitionTest, RefusesWhatIsNoCache) {
  const auto with_key = [](const std::string& key) {
    return error_of("caches: [{name: a, target_paths: [t], cache_key: " + key + "}]");
  };
  const auto with_targets = [](const std::string& targets) {
    return error_of("caches: [{name: a, cache_key: [k], target_paths: " + targets + "}]");
  };
  EXPECT_EQ(with_key("[x]"), "");
  EXPECT_EQ(with_targets("[x]"), "");
  for (const char* key :
       {"x", "[]", "[~]", "['']", "[[x]]", "[{}]", "[{agent: os, env: X}]", "[{checksum: []}]",
        "[{checksum: {a: b}}]", "[{env: 'A=B'}]", "[{fallback_limit: true}]", "[{nothing: x}]",
        "[x, {fallback_limit: maybe}]", "[{fallback_limit: false}]",
        "[x, {fallback_limit: true}, {fallback_limit: true}]", "[{literal: x}]",
        "[{agent: os, fallback_limit: true}, {agent: arch, fallback_limit: true}]",
        "[\"a\\0b\"]"}) {
    EXPECT_NE(with_key(key), "") << key;
  }
  for (const char* targets :
       {"x", "[]", "[~]", "['~/']", "[.]", "[./]", "[/]", "['']", "[a, a]", "[a, ./a]", "[..]",
        "[a/..]", "[~root]", "[~/../x]", "[/..]", "[\"a\\nb\"]", "[[a]]", "[{a: b}]"}) {
    EXPECT_NE(with_targets(targets), "") << targets;
  }
  for (const char* file :
       {"", "[]", "x", "caches:", "caches: []", "caches: {a: b}", "other: 1",
        "caches: [{name: a, cache_key: [k]}]", "caches: [{cache_key: [k], target_paths: [t]}]",
        "caches: [{name: a, name: b}]", "caches: []\n---\ncaches: []", "caches: [*nothing]",
        "caches: &a [*a]", "caches: [1]", "\xff"}) {
    EXPECT_NE(error_of(file), "") << file;
  }
  const std::string one = "{name: a, cache_key: [k], target_paths: [t]}";
  EXPECT_NE(error_of("caches: [" + one + ", " + one + "]").find("second cache"), std::string::npos);
}

TEST(DefinitionTest, IsBoundedWhateverTheFileHolds) {
  EXPECT_NE(error_of(std::string(256 * 1024 + 1, ' ')).find("256 KiB"), std::string::npos);
  EXPECT_NE(error_of("caches: " + std::string(200'000, '[')).find("levels"), std::string::npos);
  std::string wide = "caches: [";
  for (int i = 0; i < 30'000; ++i) wide += "a,";
  EXPECT_NE(error_of(wide + "]").find("values"), std::string::npos);
  // Each level is ten of the one before.
  std::string laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int k = 0; k < 9; ++k) laughs += "," + before;
    laughs += "]\n";
  }
  EXPECT_NE(error_of(laughs).find("values"), std::string::npos);
  // Few values, and many bytes: 190 KB, 10,000 times.
  std::string heavy = "a: &a " + std::string(190'000, 'x') + "\nb: [";
  for (int i = 0; i < 10'000; ++i) heavy += "*a,";
  EXPECT_NE(error_of(heavy + "]").find(":2:68: values of more than 4 MiB"), std::string::npos)
      << error_of(heavy + "]");
  // Anchors within anchors keep the same bytes each.
  std::string nested = "caches: ";
  for (int i = 0; i < 25; ++i) nested += "&n" + std::to_string(i) + " [";
  nested += "&a " + std::string(200'000, 'x');
  for (int i = 0; i < 15; ++i) nested += ",*a";
  EXPECT_NE(error_of(nested + std::string(25, ']')).find("anchors hold values"), std::string::npos);
  // Each is one level deeper than the one before.
  std::string deep = "a0: &a0 [x]\n";
  for (int i = 1; i < 40; ++i) {
    deep += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) +
            "]\n";
  }
  EXPECT_NE(error_of(deep).find("levels"), std::string::npos);
}

// Pieces that mean something to a parser, and bytes that do not, anywhere in a right file.
TEST(DefinitionTest, AnyDamageEndsInACacheOrAnError) {
  const std::string sample = R"(x: &a [v1, {agent: os, fallback_limit: true}, {checksum: ["**"]}]
caches:
  - {name: a, cache_key: *a, target_paths: [~/.npm, "b\u00e9"]}
  - name: b
    <<: {cache_key: [c]}
    target_paths: [d]
)";
  const char* const kPieces[] = {"*a", "&a ", "<<: ",  "[",    "]",  "{",  "}",
                                 ": ", "- ",  "\n",    "\n  ", "'",  "\"", "|",
                                 "!",  "%",   "---\n", "\t",   "? ", "~",  "#"};
  std::mt19937_64 random(test::test_seed());
  for (int round = 0; round < 3000; ++round) {
    std::string text = sample;
    for (uint64_t edit = random() % 6; edit-- > 0;) {
      const size_t at = random() % (text.size() + 1);
      switch (random() % 3) {
        case 0:
          text.insert(at, kPieces[random() % std::size(kPieces)]);
          break;
        case 1:
          text.erase(at, random() % 12);
          break;
        default:
          text.insert(at, 1, static_cast<char>(random()));
      }
    }
    const auto parsed = parse_cache_file(text, "f");
    if (parsed.ok()) {
      EXPECT_FALSE(parsed->empty());
    } else {
      EXPECT_EQ(parsed.error().code(), Code::invalid) << text;
    }
  }
}

TEST(DefinitionTest, WithoutAFile) {
  const auto node = define_cache(
      "node", {"v1", "{agent: os}", "{fallback_limit: true}", "{checksum: package-lock.json}"},
      {"node_modules", "~/.npm"});
  ASSERT_TRUE(node.ok()) << node.error().text();
  EXPECT_EQ(node->key.size(), 3U);
  EXPECT_EQ(node->required_parts, 2U);
  EXPECT_FALSE(define_cache("a b", {"x"}, {"t"}).ok());
  EXPECT_FALSE(define_cache("a", {}, {"t"}).ok());
  EXPECT_FALSE(define_cache("a", {"x"}, {}).ok());
  EXPECT_FALSE(define_cache("a", {"[x]"}, {"t"}).ok());
  EXPECT_FALSE(define_cache("a", {"x"}, {"t", "./t"}).ok());
  EXPECT_FALSE(define_cache("a", {"{checksum: '[a'}"}, {"t"}).ok());
}

TEST(DefinitionTest, FindsTheOneFile) {
  const test::TempDir place;
  EXPECT_FALSE(find_cache_file(place.path()).ok());
  std::filesystem::create_directories(place.path_of(".buildkite"));
  test::write_text(place.path_of(".buildkite/cache.yaml"), "");
  EXPECT_EQ(*find_cache_file(place.path()), ".buildkite/cache.yaml");
  std::filesystem::create_directories(place.path_of(".thaw"));
  test::write_text(place.path_of(".thaw/cache.yml"), "");
  const auto both = find_cache_file(place.path());
  ASSERT_FALSE(both.ok());
  EXPECT_NE(both.error().text().find(".thaw/cache.yml"), std::string::npos);
  EXPECT_NE(both.error().text().find(".buildkite/cache.yaml"), std::string::npos);
}

}  // namespace
}  // namespace thaw::cache
