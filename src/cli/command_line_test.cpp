#include "cli/command_line.h"

#include <gtest/gtest.h>

#include "base/version.h"
#include "cli/completion.h"

namespace thaw::cli {
namespace {

// What parsing answers; a command to run is a plain success.
Outcome parsed(const std::vector<std::string>& words) {
  CommandLine line;
  return line.parse(words).value_or(Outcome());
}

std::string subject_of(const std::vector<std::string>& words) {
  CommandLine line;
  const auto answer = line.parse(words);
  return answer ? "refused: " + answer->message : line.subject();
}

// The value that the flags give a setting, as text.
std::string flag_of(const CommandLine& line, const std::string& name) {
  std::string text = "unset";
  for (const Setting& setting : line.sources().flags) {
    if (setting.name == name) text = std::get<std::string>(setting.value);
  }
  return text;
}

TEST(CommandLineTest, CommandsAndTheirSubjects) {
  EXPECT_EQ(subject_of({"save", "site/shop", "tree"}), "save site/shop");
  EXPECT_EQ(subject_of({"restore", "site/shop@3", "tree", "--mode", "sync"}),
            "restore site/shop@3");
  EXPECT_EQ(subject_of({"ls"}), "ls");
  EXPECT_EQ(subject_of({"inspect", "a"}), "inspect a");
  EXPECT_EQ(subject_of({"diff", "a", "b@2", "--exit-code"}), "diff a b@2");
  EXPECT_EQ(subject_of({"rm", "a@1", "--yes"}), "rm a@1");
  EXPECT_EQ(subject_of({"verify"}), "verify");
}

TEST(CommandLineTest, KeysMayBeNamedLikeCommands) {
  EXPECT_EQ(subject_of({"save", "restore", "save"}), "save restore");
  EXPECT_EQ(subject_of({"ls", "ls"}), "ls ls");
}

TEST(CommandLineTest, RepeatedOptionsTakeOneValueEach) {
  EXPECT_EQ(subject_of({"save", "--also", "b", "a", "tree", "--label", "x=y", "--label", "z=1=2"}),
            "save a");
  EXPECT_EQ(subject_of({"save", "--exclude", "*.o", "--exclude", "[ab]", "a", "tree"}), "save a");
  EXPECT_EQ(subject_of({"restore", "--fallback", "b", "--fallback", "c", "a", "tree"}),
            "restore a");
}

TEST(CommandLineTest, GlobalOptionsStandAnywhere) {
  for (const auto& words : {std::vector<std::string>{"--store", "/s", "--json", "ls", "p"},
                            std::vector<std::string>{"ls", "--store", "/s", "p", "--json"},
                            std::vector<std::string>{"ls", "p", "--json", "--store=/s"}}) {
    CommandLine line;
    ASSERT_FALSE(line.parse(words));
    EXPECT_EQ(line.subject(), "ls p");
    EXPECT_EQ(flag_of(line, "store"), "/s");
    EXPECT_TRUE(line.json());
  }
}

TEST(CommandLineTest, AnOptionWithOneValueStandsOnce) {
  EXPECT_EQ(parsed({"--store", "/a", "ls", "--store", "/b"}).message,
            "--store is given more than once");
  EXPECT_EQ(parsed({"restore", "a", "b", "--mode", "sync", "--mode", "sync"}).message,
            "--mode is given more than once");
  EXPECT_EQ(subject_of({"ls", "--json", "--json"}), "ls");
}

TEST(CommandLineTest, NothingBehindTwoDashesIsAnOption) {
  EXPECT_EQ(subject_of({"save", "--", "-k", "--json"}), "save -k");
  EXPECT_EQ(subject_of({"save", "a", "--", "--json"}), "save a");
  EXPECT_EQ(subject_of({"save", "--", "save", "ls"}), "save save");
  EXPECT_EQ(parsed({"restore", "a", "b", "--", "--json"}).message, "one word too many: \"--json\"");
  EXPECT_EQ(parsed({"save", "--", "a", "b", "--json"}).message, "one word too many: \"--json\"");
}

TEST(CommandLineTest, EmptyValuesAreRefused) {
  EXPECT_EQ(parsed({"--store=", "ls"}).message, "--store= has no value");
  for (const char* option : {"--threads", "--store", "--config", "--config-json", "--timeout"}) {
    EXPECT_EQ(parsed({"ls", option, ""}).message, std::string(option) + ": the value is empty");
  }
}

TEST(CommandLineTest, VerboseAndQuietSetTheLogLevel) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"ls"}, "unset"}, {{"ls", "-q"}, "error"}, {{"-v", "ls"}, "info"}, {{"-vv", "ls"}, "debug"}};
  for (const auto& [words, level] : cases) {
    CommandLine line;
    ASSERT_FALSE(line.parse(words));
    EXPECT_EQ(flag_of(line, "log_level"), level);
  }
}

TEST(CommandLineTest, WrongUsage) {
  const std::vector<std::string> cases[] = {
      {},
      {"--json"},
      {"save"},
      {"save", "a"},
      {"save", "a", "b", "c"},
      {"save", "a@1", "b"},
      {"save", "a//b", "c"},
      {"save", "/a", "b"},
      {"save", "a", ""},
      {"save", "a", "b", "--also", "c@1"},
      {"save", "a", "b", "--label", "x"},
      {"save", "a", "b", "--label", "=x"},
      {"save", "a", "b", "--unchanged-by", "size"},
      {"save", "a", "b", "--base", "c@0"},
      {"restore", "a@0", "b"},
      {"restore", "a@x", "b"},
      {"restore", "a", "b", "--mode", "move"},
      {"restore", "a", "b", "--fallback", "c@1"},
      {"diff", "a"},
      {"rm"},
      {"ls", "a", "b"},
      {"ls", "--threads", "many"},
      {"ls", "--store"},
      {"--nothing", "ls"},
      {"nothing"},
      {"completion", "fish"},
  };
  for (const auto& words : cases) {
    const Outcome outcome = parsed(words);
    std::string shown;
    for (const std::string& word : words) shown += word + ' ';
    EXPECT_EQ(outcome.status, Status::usage) << shown;
    EXPECT_EQ(outcome.reason, "invalid") << shown;
    EXPECT_FALSE(outcome.message.empty()) << shown;
  }
}

TEST(CommandLineTest, SlipsAreGuessed) {
  EXPECT_NE(parsed({"sav", "a", "b"}).message.find("\"save\""), std::string::npos);
  EXPECT_NE(parsed({"save", "a", "b", "--alow-empty"}).message.find("\"--allow-empty\""),
            std::string::npos);
  EXPECT_NE(parsed({"ls", "--jsn"}).message.find("\"--json\""), std::string::npos);
}

TEST(CommandLineTest, JsonIsKnownWhereParsingFails) {
  CommandLine line;
  ASSERT_TRUE(line.parse({"sav", "a", "--json"}));
  EXPECT_TRUE(line.json());
  CommandLine other;
  ASSERT_TRUE(other.parse({"sav", "--", "--json"}));
  EXPECT_FALSE(other.json());
}

TEST(CommandLineTest, HelpAndVersion) {
  EXPECT_NE(parsed({"--help"}).listing.find("THAW_STORE"), std::string::npos);
  EXPECT_NE(parsed({"save", "--help"}).listing.find("--allow-shrink"), std::string::npos);
  EXPECT_EQ(parsed({"--version"}).listing, std::string("thaw ") + kVersion + "\n");
  EXPECT_EQ(parsed({"--help"}).status, Status::done);
}

TEST(CommandLineTest, EveryHelpHasExamples) {
  const CommandLine line;
  for (const CLI::App* command : line.app().get_subcommands({})) {
    const std::string help = command->help("thaw");
    EXPECT_NE(help.find("Examples:"), std::string::npos) << command->get_name();
    EXPECT_NE(help.find("Usage: thaw " + command->get_name()), std::string::npos) << help;
  }
}

TEST(CompletionTest, HoldsEveryCommandAndOption) {
  const CommandLine line;
  const std::string scripts[] = {bash_completion(line.app()), zsh_completion(line.app())};
  for (const std::string& script : scripts) {
    EXPECT_EQ(script.find('@' + std::string("VALUE")), std::string::npos);
    for (const CLI::App* command : line.app().get_subcommands({})) {
      EXPECT_NE(script.find("_thaw_" + command->get_name() + "()"), std::string::npos)
          << command->get_name();
      for (const CLI::Option* option : command->get_options()) {
        for (const std::string& name : option->get_lnames()) {
          EXPECT_NE(script.find("--" + name), std::string::npos) << name;
        }
      }
    }
    for (const char* word :
         {"--store", "--json", "--advisory", "replace merge sync", "all content"}) {
      EXPECT_NE(script.find(word), std::string::npos) << word;
    }
  }
}

}  // namespace
}  // namespace thaw::cli
