#include "cache/address.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "cache/lookup.h"
#include "support/temp_dir.h"

namespace thaw::cache {
namespace {

using test::TempDir;
using test::write_text;

struct KeyCase {
  const char* name;
  const char* key;      // cache_key, as YAML
  const char* targets;  // target_paths, as YAML
  // Computed by another program, from docs/cache.md alone.
  const char* address;
};

const KeyCase kCases[] = {
    {"one text", R"([v1])", "[node_modules]",
     "89177fe19c16e8a77a44a210bac227ee89777deff855deda6470d3260a2832b4"},
    {"two texts", R"([v1, v2])", "[node_modules]",
     "ebb80fea18326f8617748be8d9a4d33de4767d0e6e6a0b482c56a22331e23159"},
    {"their order", R"([v2, v1])", "[node_modules]",
     "4619d8c2878229705679be2af8906eaf4cf428ad93d658fc411137e5a46cacf6"},
    {"no joint", R"([v1v2])", "[node_modules]",
     "9ec426d489f3810b24bedf83d7ae586fafb9fc68080a4db39670312ac90e7591"},
    {"a number as written", R"([1.0])", "[node_modules]",
     "b78018284c7d742d40e3be3bdd01b0ba997977fe363d192813eafda8e6506bd1"},
    {"another number", R"([1])", "[node_modules]",
     "db428c1546ee45e394842080305b3eb6d690c7dde05cd654c544188f013d199d"},
    {"a word of YAML", R"([true])", "[node_modules]",
     "3841aa7f3901c9ce1f68dcf8e895202d38bf55e19b4bc0a90489df7e4686a5b4"},
    {"a sharp", R"(["a#b"])", "[node_modules]",
     "86e4c08799fdf985ab3e41b8715e77f88bc0b012e4148ca908e8eba9f7d9f5db"},
    {"not ASCII", R"(["é中"])", "[node_modules]",
     "d0a5962a42573db41a9d9bc4080387dc365efac6b3675659c4fa48bf05ae9240"},
    {"escapes of YAML", R"(["a\tb"])", "[node_modules]",
     "426e3eac88ab8f9a067c22f0d574bf86de327e2853a995cbd65d193fbfd15240"},
    {"the system", R"([{agent: os}])", "[node_modules]",
     "6193d3412533e3b82155e472c008c7799109025dacb9261cb3c69ec78c2a2e55"},
    {"a text that looks like it", R"([linux])", "[node_modules]",
     "f858bcf30e3d092d6a25e6af3b2c84fb88ce56cba76d5bcc436bbf616e2e4771"},
    {"the processor", R"([{agent: arch}])", "[node_modules]",
     "935aa75ad1b0b5dba1fdae864e5cdf08189193b4957f7be1c098d3e88968935c"},
    {"the branch", R"([{agent: branch}])", "[node_modules]",
     "5e1ac466538b6e9010e2533a8d6a4182bcf14fa9fd82a653986d7b65dba289b1"},
    {"the step", R"([{agent: step}])", "[node_modules]",
     "fed408d3ef8920edc9639915f39954f56ee9db5bc46f1b94b188c04c7de5452b"},
    {"the pipeline, not known", R"([{agent: pipeline}])", "[node_modules]",
     "7a38e9c65221c09d1db1b150faef4749ca83962e4a3c78868dcd4fd692230112"},
    {"a variable", R"([{env: SET}])", "[node_modules]",
     "5a76914fa95e16be7ea679cf0cdeeccdbb05f8e0bd8de2fa7e531befc801b5a0"},
    {"a variable that is not set", R"([{env: UNSET}])", "[node_modules]",
     "3488d9a592e768400ae17318e753a9fdd9dd73e40210089775db0d383fd2e02b"},
    {"a file", R"([{checksum: a.txt}])", "[node_modules]",
     "575cf4727a795fdd1c55a5cd9294cedcddbd82db6d950a6fae690737c4b3d0bb"},
    {"a file, anchored", R"([{checksum: ./a.txt}])", "[node_modules]",
     "575cf4727a795fdd1c55a5cd9294cedcddbd82db6d950a6fae690737c4b3d0bb"},
    {"a list of one file", R"([{checksum: [a.txt]}])", "[node_modules]",
     "575cf4727a795fdd1c55a5cd9294cedcddbd82db6d950a6fae690737c4b3d0bb"},
    {"Windows line ends", R"([{checksum: crlf.txt}])", "[node_modules]",
     "4318544e50e772d00ed5812567bcc1072a345cb7bc49ea7a53899d035bb305c2"},
    {"an empty file", R"([{checksum: empty.txt}])", "[node_modules]",
     "871ebfef82118193644f42092302fd4c3d12e4d213dea3ad2304d4170b3ede58"},
    {"a link to a file", R"([{checksum: link.txt}])", "[node_modules]",
     "575cf4727a795fdd1c55a5cd9294cedcddbd82db6d950a6fae690737c4b3d0bb"},
    {"a file in a linked folder", R"([{checksum: dirlink/one.lock}])", "[node_modules]",
     "dc8758a4ccf6eb3923b9176afc46157ad1fd44f2fd501e630f05da17e790f6ab"},
    {"a file of several pieces", R"([{checksum: big.bin}])", "[node_modules]",
     "8f236845de4bac4ca10e9afb8700af94bd9888ba616773c72fe30a2f0983bf10"},
    {"two files", R"([{checksum: [a.txt, crlf.txt]}])", "[node_modules]",
     "7a44ec051882b5ac64bebda9a5d7bd97058ced9224d42551b4e15b7e0439b24a"},
    {"two files, the other way round", R"([{checksum: [crlf.txt, a.txt]}])", "[node_modules]",
     "7a44ec051882b5ac64bebda9a5d7bd97058ced9224d42551b4e15b7e0439b24a"},
    {"a file twice", R"([{checksum: [a.txt, a.txt]}])", "[node_modules]",
     "f94acd6caf66240e85a55b33aea26182e5a1f23e591d23fa52c32ff80df43070"},
    {"a star", R"([{checksum: "b/*.lock"}])", "[node_modules]",
     "5b2dc39bbcea86dfdccfb0cf6137a8cc5a57481a5b1b93db77df8f51c6835207"},
    {"a star in a list with one of them", R"([{checksum: [b/one.lock, "b/*.lock"]}])",
     "[node_modules]", "5b2dc39bbcea86dfdccfb0cf6137a8cc5a57481a5b1b93db77df8f51c6835207"},
    {"stars below a folder", R"([{checksum: "b/**/*.lock"}])", "[node_modules]",
     "4f302e5f40ab2abc033439d66c552e03599dfed53b83db51213ede315b356239"},
    {"stars at the end", R"([{checksum: "b/**"}])", "[node_modules]",
     "4f302e5f40ab2abc033439d66c552e03599dfed53b83db51213ede315b356239"},
    {"stars everywhere, links not entered", R"([{checksum: "**/*.lock"}])", "[node_modules]",
     "fdc737cf37ae3987d767d5525289613ecee629cb435235eef2ca84d54d0114c8"},
    {"stars in the middle", R"([{checksum: "b/**/er/*"}])", "[node_modules]",
     "7f97fa6cc22e1a0221b9b8dbbf46647903df4ac8fb66b0db14027abb98d201a9"},
    {"names that are no UTF-8, and a pipe", R"([{checksum: "n/*"}])", "[node_modules]",
     "f38d9c355e353316d0fa32049ce4c76c31fd32eb827c2281eaea3bc702a4b06e"},
    {"a name that is no UTF-8", R"([{checksum: "n/*.bin"}])", "[node_modules]",
     "0eab06e9d207166842b0a8117141672aec7da6a04045310b4e75642bcdadf125"},
    {"equal contents count each", R"([{checksum: "n/same?"}])", "[node_modules]",
     "dcf96adf7459dc223ed86c1ef4152267415af1c9ac0d3d2eaca33ff672a2c7d2"},
    {"a set", R"([{checksum: "n/same[2-9]"}])", "[node_modules]",
     "ee18400177ed795812aaa093f8047124e2ba32dad5ccf4305b5bfc67e1dedb83"},
    {"braces", R"([{checksum: "b/{one,two}.lock"}])", "[node_modules]",
     "5b2dc39bbcea86dfdccfb0cf6137a8cc5a57481a5b1b93db77df8f51c6835207"},
    {"braces within braces", R"([{checksum: "{a.tx{t,u},b/{one,no}.lock}"}])", "[node_modules]",
     "54e816530b6c817b5450a835ec927c4379ab48b893eb8fcdb4b527463b84552b"},
    {"a pattern through a linked folder", R"([{checksum: "dirlink/*.lock"}])", "[node_modules]",
     "5b2dc39bbcea86dfdccfb0cf6137a8cc5a57481a5b1b93db77df8f51c6835207"},
    {"links to files count, dangling ones do not", R"([{checksum: "*.txt"}])", "[node_modules]",
     "60ff2e6f42b172298d6e213254cbe38e047b6851c998f2d46c7e479042555e1a"},
    {"a quoted bracket", R"([{checksum: 'we\[i\]rd.txt'}])", "[node_modules]",
     "c0ad135de7892aa1c9d5325f3ae52156176c4e527d1fda074c97725e7d25cf42"},
    {"a brace without a comma", R"([{checksum: "x{y}.txt"}])", "[node_modules]",
     "0ba31551ea486e078407c67bc03f14d81427cd0613bb8f98811e5a2b5479535f"},
    {"one of two patterns matches", R"([{checksum: ["*.nothing", a.txt]}])", "[node_modules]",
     "f94acd6caf66240e85a55b33aea26182e5a1f23e591d23fa52c32ff80df43070"},
    {"hidden names", R"([{checksum: "*.lock"}])", "[node_modules]",
     "f15a85c60a096e7d5f3d23f6a9a7c8dc6a5f3a52038947fa36c68234ed18064a"},
    {"two checksums", R"([{checksum: a.txt}, {checksum: crlf.txt}])", "[node_modules]",
     "91f83ffec46b1f453c2ed9acb173c1f9c43d0421f55539cd7ab396547b830623"},
    {"the limit is no part", R"([v1, {fallback_limit: true}, {agent: os}])", "[node_modules]",
     "f400c1718a8b17e8298a50926395c62e8b4af05b40b76232d6dafd33fdb47529"},
    {"the limit in a part", R"([v1, {agent: os, fallback_limit: true}, x])", "[node_modules]",
     "c6e8646165a85e745e1da25a13852532a3b9d7fb1408162590549c4234986ff9"},
    {"two targets", R"([v1])", "[node_modules, ~/.npm]",
     "b418842b88e0aa95bb81ad2817554d1aae6f39227bf5ed377cab5769b1d3978d"},
    {"two targets, the other way round", R"([v1])", "[~/.npm, node_modules]",
     "b418842b88e0aa95bb81ad2817554d1aae6f39227bf5ed377cab5769b1d3978d"},
    {"a target that is not clean", R"([v1])", "[./node_modules//.bin/..]",
     "89177fe19c16e8a77a44a210bac227ee89777deff855deda6470d3260a2832b4"},
    {"a target at the root", R"([v1])", "[/node_modules]",
     "fc8c8a37f99891fd2e7da75164f0adf1222679d5dc7bb33e5727ef74e159db32"},
    {"a file called ~x", R"([v1])", "[./~x]",
     "084d64680e61195e84627ca59a3b794707b772d0ba4aedbbe2cb230c42535e33"},
    {"everything",
     R"(["v1-node", {agent: os}, {agent: arch}, {fallback_limit: true}, {checksum: a.txt}, {env: SET}])",
     "[node_modules, ~/.npm]", "84b4a07e5c2ced6a4c1b1b2160f9ef9bc967006a5ff05a2b6097ae7ef219ce43"},
};

// The files that the cases name.
class AddressTest : public testing::Test {
 protected:
  AddressTest() {
    for (const char* folder : {"b/deep/er", "b/.dot", "n"})
      std::filesystem::create_directories(files_.path_of(folder));
    const std::pair<const char*, const char*> kFiles[] = {
        {"a.txt", "alpha\n"},         {"crlf.txt", "alpha\r\n"},  {"empty.txt", ""},
        {"b/one.lock", "1"},          {"b/two.lock", "2"},        {"b/deep/three.lock", "3"},
        {"b/deep/er/four.lock", "4"}, {"b/.dot/x.lock", "5"},     {".hidden.lock", "h"},
        {"n/\xff\xfe.bin", "raw"},    {"n/caf\xc3\xa9.txt", "c"}, {"n/same1", "same"},
        {"n/same2", "same"},          {"we[i]rd.txt", "w"},       {"x{y}.txt", "brace"}};
    for (const auto& [name, content] : kFiles) write_text(files_.path_of(name), content);
    write_text(files_.path_of("big.bin"), std::string(3 * 1024 * 1024 + 7, 'z'));
    std::filesystem::create_symlink("a.txt", files_.path_of("link.txt"));
    std::filesystem::create_symlink("b", files_.path_of("dirlink"));
    std::filesystem::create_symlink("nowhere", files_.path_of("dangling.txt"));
    // Who opened it would wait for a writer.
    EXPECT_EQ(::mkfifo(files_.path_of("n/pipe").c_str(), 0600), 0);
    facts_.os = "linux";
    facts_.arch = "amd64";
    facts_.branch = "feature/x";
    facts_.step = "build";
    facts_.project = "acme/shop";
  }

  Result<Address> resolve(const std::string& file) {
    auto definitions = parse_cache_file(file, "cache.yml");
    if (!definitions) return std::move(definitions).error();
    return Address::resolve(context_, definitions->front(),
                            {facts_, environment_, files_.path(), {}});
  }

  static std::string file_of(const std::string& key, const std::string& targets) {
    return "caches:\n  - name: c\n    cache_key: " + key + "\n    target_paths: " + targets + "\n";
  }

  TempDir files_;
  CiFacts facts_;
  const Environment environment_ = [](const char* name) -> std::optional<std::string> {
    return std::string(name) == "SET" ? std::optional<std::string>("val ue") : std::nullopt;
  };
  const Context context_;
};

TEST_F(AddressTest, IsThatOfTheTable) {
  static_assert(std::size(kCases) >= 30);
  for (const KeyCase& each : kCases) {
    const auto address = resolve(file_of(each.key, each.targets));
    ASSERT_TRUE(address.ok()) << each.name << ": " << address.error().text();
    EXPECT_EQ(address->digest(address->parts()), each.address) << each.name;
  }
}

TEST_F(AddressTest, OfAFileWithWindowsLineEndsIsTheSame) {
  for (const KeyCase& each : kCases) {
    std::string file;
    for (const char c : file_of(each.key, each.targets)) {
      if (c == '\n') file += '\r';
      file += c;
    }
    const auto address = resolve(file);
    ASSERT_TRUE(address.ok()) << each.name << ": " << address.error().text();
    EXPECT_EQ(address->digest(address->parts()), each.address) << each.name;
  }
}

TEST_F(AddressTest, ShorterKeysAreThoseOfTheirParts) {
  const auto whole = resolve(file_of("[v1, {fallback_limit: true}, v2, v3]", "[x]"));
  const auto shorter = resolve(file_of("[v1, v2]", "[x]"));
  ASSERT_TRUE(whole.ok() && shorter.ok());
  EXPECT_EQ(whole->parts(), 3U);
  EXPECT_EQ(whole->required_parts(), 1U);
  EXPECT_EQ(whole->digest(2), shorter->digest(2));
  EXPECT_EQ(shorter->required_parts(), 2U);
}

TEST_F(AddressTest, KeysAreKeys) {
  facts_.project = "acme/shop@home";
  const auto address = resolve(file_of("[v1]", "[x, y]"));
  ASSERT_TRUE(address.ok());
  EXPECT_EQ(address->key("branch.main", 1, 1).text(),
            "ci/acme=2Fshop=40home/branch.main/c/" + address->digest(1) + "/1");
}

TEST_F(AddressTest, TellsWhatHasNoChecksum) {
  const auto text = [&](const std::string& key) {
    const auto address = resolve(file_of(key, "[x]"));
    return address.ok() ? "" : address.error().text();
  };
  EXPECT_NE(text("[{checksum: [\"*.none\", \"no/**\"]}]").find("\"*.none\", \"no/**\""),
            std::string::npos);
  EXPECT_NE(text("[{checksum: gone.txt}]").find("gone.txt"), std::string::npos);
  EXPECT_NE(text("[{checksum: [a.txt, gone.txt]}]").find("gone.txt"), std::string::npos);
  EXPECT_NE(text("[{checksum: b}]").find("is not a file"), std::string::npos);
  EXPECT_NE(text("[{checksum: n/pipe}]").find("is not a file"), std::string::npos);
  EXPECT_NE(text("[{checksum: \"b/[a\"}]").find("without its ]"), std::string::npos);
  EXPECT_NE(text("[{checksum: \"*/../*\"}]").find("\"..\""), std::string::npos);
}

TEST_F(AddressTest, IsShownShortAndSafe) {
  const auto address = resolve(file_of("[v1, \"\\e[31m\", " + std::string(4000, 'x') + "]", "[x]"));
  ASSERT_TRUE(address.ok());
  EXPECT_EQ(address->text(), "v1#\\x1b[31m#" + std::string(48, 'x'));
}

TEST_F(AddressTest, IsLookedForLongestKeyFirst) {
  const auto address = resolve(file_of("[v1, {fallback_limit: true}, v2]", "[x]"));
  ASSERT_TRUE(address.ok());
  std::vector<std::string> order;
  for (const Place& place : places_of(*address, {"branch.a", "branch.main"}))
    order.push_back(place.scope + " " + std::to_string(place.parts));
  EXPECT_EQ(order, (std::vector<std::string>{"branch.a 2", "branch.main 2", "branch.a 1",
                                             "branch.main 1"}));
}

}  // namespace
}  // namespace thaw::cache
