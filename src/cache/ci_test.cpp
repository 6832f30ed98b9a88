#include "cache/ci.h"

#include <gtest/gtest.h>

#include <map>

#include "cache/scope.h"
#include "support/temp_dir.h"

namespace thaw::cache {
namespace {

using Variables = std::map<std::string, std::string>;
using Scopes = std::vector<std::string>;

Environment environment_of(Variables variables) {
  return [variables = std::move(variables)](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end() || found->second.empty()) return std::nullopt;
    return found->second;
  };
}

CiFacts facts_of(const Variables& variables) { return read_ci(environment_of(variables)); }

const Variables kBuildkite = {{"BUILDKITE", "true"},
                              {"BUILDKITE_BRANCH", "feature/x"},
                              {"BUILDKITE_ORGANIZATION_SLUG", "acme"},
                              {"BUILDKITE_PIPELINE_SLUG", "shop"},
                              {"BUILDKITE_STEP_ID", "0198"},
                              {"BUILDKITE_PULL_REQUEST", "false"},
                              {"BUILDKITE_REPO", "git@github.com:acme/shop.git"},
                              {"BUILDKITE_PIPELINE_DEFAULT_BRANCH", "main"}};

Variables with(Variables variables, const Variables& more) {
  for (const auto& [name, value] : more) variables[name] = value;
  return variables;
}

TEST(CiTest, NoCi) {
  const CiFacts facts = facts_of({});
  EXPECT_EQ(facts.ci, "");
  EXPECT_FALSE(facts.summary);
  EXPECT_EQ(facts_of({{"GITHUB_STEP_SUMMARY", "/tmp/summary"}}).summary, "/tmp/summary");
  EXPECT_EQ(facts.os, "linux");
  EXPECT_EQ(scopes_of(facts), Scopes{"unscoped"});
}

TEST(CiTest, Buildkite) {
  const CiFacts facts = facts_of(kBuildkite);
  EXPECT_EQ(facts.branch, "feature/x");
  EXPECT_EQ(facts.step, "0198");
  EXPECT_EQ(facts.pipeline, "shop");
  EXPECT_EQ(facts.project, "acme/shop");
  EXPECT_EQ(facts.fork, Fork::no);
  EXPECT_EQ(scopes_of(facts), (Scopes{"branch.feature=2Fx", "branch.main"}));
  EXPECT_EQ(facts_of(with(kBuildkite, {{"BUILDKITE_STEP_KEY", "test"}})).step, "test");
  // Whatever the number says: a fork's branch may be called main.
  EXPECT_EQ(
      facts_of(with(kBuildkite, {{"BUILDKITE_PULL_REQUEST_REPO", "https://github.com/x/shop"}}))
          .fork,
      Fork::yes);
}

TEST(CiTest, BuildkitePullRequests) {
  const auto of_repository = [](const std::string& repository) {
    return facts_of(with(kBuildkite, {{"BUILDKITE_PULL_REQUEST", "7"},
                                      {"BUILDKITE_PULL_REQUEST_BASE_BRANCH", "develop"},
                                      {"BUILDKITE_PULL_REQUEST_REPO", repository}}));
  };
  const CiFacts own = of_repository("https://github.com/acme/shop");
  EXPECT_EQ(own.fork, Fork::no);
  EXPECT_EQ(scopes_of(own), (Scopes{"pr.7", "branch.develop", "branch.main"}));
  for (const char* same :
       {"git://github.com/acme/shop.git", "ssh://git@github.com:22/Acme/shop.git/",
        "https://user:secret@github.com/acme/shop.git"}) {
    EXPECT_EQ(of_repository(same).fork, Fork::no) << same;
  }
  for (const char* other :
       {"https://github.com/mallory/shop.git", "git@evil.com:acme/shop.git",
        "https://github.com@evil.com/acme/shop", "https://evil.com?@github.com/acme/shop"}) {
    EXPECT_EQ(of_repository(other).fork, Fork::yes) << other;
  }
  EXPECT_EQ(of_repository("").fork, Fork::unknown);
}

TEST(CiTest, NoTwoPipelinesOfBuildkiteHaveOneProject) {
  const auto project = [](const char* organization, const char* pipeline) {
    return facts_of(with(kBuildkite, {{"BUILDKITE_ORGANIZATION_SLUG", organization},
                                      {"BUILDKITE_PIPELINE_SLUG", pipeline}}))
        .project;
  };
  EXPECT_EQ(project("acme", "shop"), "acme/shop");
  EXPECT_EQ(project("", "shop"), "shop");
  EXPECT_NE(project("a/b", "c"), project("a", "b/c"));
  EXPECT_NE(project("", "a/b"), project("a", "b"));
  EXPECT_NE(project("a=2Fb", "c"), project("a/b", "c"));
}

TEST(CiTest, GitLab) {
  const Variables branch = {{"GITLAB_CI", "true"},      {"CI_COMMIT_BRANCH", "x"},
                            {"CI_PROJECT_PATH", "a/b"}, {"CI_PROJECT_NAME", "b"},
                            {"CI_DEFAULT_BRANCH", "x"}, {"CI_JOB_NAME", "test: [1]"}};
  EXPECT_EQ(scopes_of(facts_of(branch)), Scopes{"branch.x"});
  EXPECT_EQ(facts_of(branch).step, "test: [1]");
  const Variables merge = {{"GITLAB_CI", "true"},
                           {"CI_MERGE_REQUEST_IID", "12"},
                           {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "main"},
                           {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"},
                           {"CI_MERGE_REQUEST_PROJECT_PATH", "a/b"},
                           {"CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "a/b"},
                           {"CI_DEFAULT_BRANCH", "main"}};
  EXPECT_EQ(scopes_of(facts_of(merge)), (Scopes{"pr.12", "branch.main"}));
  EXPECT_EQ(facts_of(merge).fork, Fork::no);
  EXPECT_EQ(facts_of(with(merge, {{"CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "c/b"}})).fork,
            Fork::yes);
  EXPECT_EQ(facts_of(with(merge, {{"CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", ""}})).fork,
            Fork::unknown);
  // Without its number it would share a branch's scope.
  EXPECT_EQ(facts_of(with(merge, {{"CI_MERGE_REQUEST_IID", ""}})).fork, Fork::unknown);
  EXPECT_EQ(facts_of(with(branch, {{"CI_EXTERNAL_PULL_REQUEST_IID", "5"}})).fork, Fork::unknown);
  EXPECT_EQ(facts_of(with(branch, {{"CI_PIPELINE_SOURCE", "merge_request_event"}})).fork,
            Fork::unknown);
  EXPECT_EQ(scopes_of(facts_of({{"GITLAB_CI", "true"}, {"CI_COMMIT_TAG", "v1"}})),
            Scopes{"tag.v1"});
}

class GitHubTest : public testing::Test {
 protected:
  CiFacts of_event(const Variables& more, const std::string& event) {
    const std::string path = place_.path_of("event.json");
    test::write_text(path, event);
    return facts_of(with({{"GITHUB_ACTIONS", "true"},
                          {"GITHUB_REPOSITORY", "acme/shop"},
                          {"GITHUB_JOB", "test"},
                          {"GITHUB_WORKFLOW", "CI"},
                          {"GITHUB_EVENT_PATH", path},
                          {"GITHUB_STEP_SUMMARY", "/tmp/summary"}},
                         more));
  }
  static std::string pull_request(const std::string& head) {
    return R"({"pull_request": {"number": 5, "base": {"ref": "main"}, "head": {"repo":
      {"full_name": ")" +
           head + R"("}}}, "repository": {"default_branch": "trunk"}})";
  }
  test::TempDir place_;
};

TEST_F(GitHubTest, Push) {
  const CiFacts facts = of_event(
      {{"GITHUB_EVENT_NAME", "push"}, {"GITHUB_REF_NAME", "x"}, {"GITHUB_REF_TYPE", "branch"}},
      R"({"repository": {"default_branch": "main"}})");
  EXPECT_EQ(scopes_of(facts), (Scopes{"branch.x", "branch.main"}));
  EXPECT_EQ(facts.fork, Fork::no);
  EXPECT_EQ(facts.project, "acme/shop");
  EXPECT_EQ(facts.summary, "/tmp/summary");
  const CiFacts tag = of_event({{"GITHUB_REF_NAME", "main"}, {"GITHUB_REF_TYPE", "tag"}}, "{}");
  EXPECT_EQ(scopes_of(tag), Scopes{"tag.main"});
}

TEST_F(GitHubTest, PullRequests) {
  const Variables variables = {{"GITHUB_EVENT_NAME", "pull_request"},
                               {"GITHUB_REF_NAME", "5/merge"},
                               {"GITHUB_HEAD_REF", "main"},
                               {"GITHUB_BASE_REF", "main"}};
  const CiFacts own = of_event(variables, pull_request("acme/shop"));
  EXPECT_EQ(scopes_of(own), (Scopes{"pr.5", "branch.main", "branch.trunk"}));
  EXPECT_EQ(own.fork, Fork::no);
  EXPECT_EQ(own.branch, "main");
  EXPECT_EQ(of_event(variables, pull_request("mallory/shop")).fork, Fork::yes);
  // An event that cannot be read, or says nothing, or anything.
  for (const char* event : {"", "[]", "{", R"({"pull_request": 7})", "{\"pull_request\":null}"}) {
    const CiFacts facts = of_event(variables, event);
    EXPECT_EQ(facts.fork, Fork::unknown) << event;
    EXPECT_EQ(scopes_of(facts).front(), "pr.5") << event;
  }
}

TEST_F(GitHubTest, WhatRunsOnTheBaseBranchForAPullRequest) {
  const Variables variables = {{"GITHUB_EVENT_NAME", "pull_request_target"},
                               {"GITHUB_REF_NAME", "main"},
                               {"GITHUB_REF_TYPE", "branch"}};
  const CiFacts facts = of_event(variables, pull_request("mallory/shop"));
  EXPECT_EQ(scopes_of(facts), (Scopes{"pr.5", "branch.main", "branch.trunk"}));
  EXPECT_EQ(facts.fork, Fork::yes);
  const Variables run = {{"GITHUB_EVENT_NAME", "workflow_run"}, {"GITHUB_REF_NAME", "main"}};
  EXPECT_EQ(of_event(run, R"({"workflow_run": {"head_repository": {"full_name": "m/shop"}}})").fork,
            Fork::yes);
  EXPECT_EQ(
      of_event(run, R"({"workflow_run": {"head_repository": {"full_name": "acme/shop"}}})").fork,
      Fork::no);
}

TEST_F(GitHubTest, WritesForEventsThatRunTheCodeOfTheirRef) {
  const auto fork_of = [&](const std::string& kind, const std::string& event) {
    return of_event({{"GITHUB_EVENT_NAME", kind}, {"GITHUB_REF_NAME", "main"}}, event).fork;
  };
  // Of these no event need say anything.
  for (const char* kind : {"push", "schedule", "workflow_dispatch", "repository_dispatch",
                           "release", "create", "merge_group"}) {
    for (const char* event : {"", "{}"}) EXPECT_EQ(fork_of(kind, event), Fork::no) << kind;
  }
  for (const char* kind : {"pull_request", "pull_request_target", "workflow_run"})
    EXPECT_EQ(fork_of(kind, ""), Fork::unknown) << kind;
  // A comment's job runs on main, and fetches a pull request's code as like as not.
  const std::string mine = pull_request("acme/shop");
  for (const char* kind : {"issue_comment", "issues", "pull_request_review", "discussion", ""}) {
    for (const std::string& event : {std::string(), std::string("{}"), mine})
      EXPECT_EQ(fork_of(kind, event), Fork::unknown) << kind << ": " << event;
  }
  EXPECT_EQ(fork_of("pull_request", mine), Fork::no);
  EXPECT_EQ(fork_of("issue_comment", pull_request("mallory/shop")), Fork::yes);
}

TEST(CiTest, FactsAreSet) {
  CiFacts facts = facts_of(kBuildkite);
  EXPECT_TRUE(set_fact(facts, "branch=a=b").ok());
  EXPECT_EQ(facts.branch, "a=b");
  EXPECT_TRUE(set_fact(facts, "default=").ok());
  EXPECT_EQ(scopes_of(facts), Scopes{"branch.a=3Db"});
  EXPECT_TRUE(set_fact(facts, "fork=true").ok());
  EXPECT_EQ(facts.fork, Fork::yes);
  // Said once, by whomever, it stays.
  EXPECT_TRUE(set_fact(facts, "fork=false").ok());
  EXPECT_EQ(facts.fork, Fork::yes);
  facts.fork = Fork::unknown;
  EXPECT_TRUE(set_fact(facts, "fork=false").ok());
  EXPECT_EQ(facts.fork, Fork::no);
  EXPECT_FALSE(set_fact(facts, "fork=perhaps").ok());
  EXPECT_FALSE(set_fact(facts, "color=red").ok());
  EXPECT_FALSE(set_fact(facts, "branch").ok());
}

TEST(ScopeTest, SegmentsAreKeysAndNoTwoTextsHaveOne) {
  EXPECT_EQ(segment_of("main"), "main");
  EXPECT_EQ(segment_of("a/b c"), "a=2Fb=20c");
  EXPECT_EQ(segment_of("a=2Fb"), "a=3D2Fb");
  EXPECT_EQ(segment_of(".."), "=2E=2E");
  EXPECT_EQ(segment_of(""), "=none");
  EXPECT_EQ(segment_of("none"), "none");
  EXPECT_EQ(segment_of(std::string(120, 'a')), std::string(120, 'a'));
  const std::string long_one = segment_of(std::string(121, 'a'));
  EXPECT_EQ(long_one.substr(0, 50), std::string(48, 'a') + "=~");
  EXPECT_EQ(long_one.size(), 82U);
  EXPECT_NE(long_one, segment_of(std::string(122, 'a')));
  EXPECT_EQ(segment_of("\xff\x01@\\"), "=FF=01=40=5C");
}

TEST(ScopeTest, WritePolicy) {
  CiFacts facts;
  facts.branch = "main";
  const auto may = [&](const char* text) {
    const auto policy = WritePolicy::parse(text);
    EXPECT_TRUE(policy.ok()) << text;
    return policy.ok() && !policy->refusal(facts);
  };
  EXPECT_TRUE(may("always"));
  EXPECT_FALSE(may("never"));
  EXPECT_TRUE(may("branches: [main, release/*]"));
  EXPECT_FALSE(may("branches: [trunk]"));
  facts.branch = "release/1";
  EXPECT_TRUE(may("branches:[main,release/*]"));
  facts.branch = "release/1/fix";
  EXPECT_FALSE(may("branches: [release/*]"));
  EXPECT_TRUE(may("branches: [release/**]"));
  facts.branch = "somebody/main";
  EXPECT_FALSE(may("branches: [main]"));
  facts.branch = "main";
  facts.pull_request = "5";
  EXPECT_FALSE(may("branches: [main]"));
  EXPECT_TRUE(may("always"));
  for (const Fork fork : {Fork::yes, Fork::unknown}) {
    facts.fork = fork;
    EXPECT_FALSE(may("always"));
  }
  for (const char* wrong : {"", "sometimes", "branches:", "branches: main", "branches: []",
                            "branches: [a", "branches: [[a]"}) {
    EXPECT_FALSE(WritePolicy::parse(wrong).ok()) << wrong;
  }
}

}  // namespace
}  // namespace thaw::cache
