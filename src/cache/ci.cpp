#include "cache/ci.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/log.h"
#include "cache/repository.h"

namespace thaw::cache {
namespace {

using Json = nlohmann::json;

// GitHub's own bound on an event is 25 MB.
constexpr size_t kEventBytes = size_t{32} << 20;

constexpr const char* kArch =
#if defined(__x86_64__)
    "amd64";
#elif defined(__aarch64__)
    "arm64";
#else
    "unknown";
#endif

std::string value_of(const Environment& environment, const char* name) {
  return environment(name).value_or("");
}

// The first of these that is set.
std::string first_of(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (auto value = environment(name)) return *std::move(value);
  }
  return "";
}

void suspect(CiFacts& facts, Fork fork, std::string evidence) {
  facts.fork = fork;
  facts.fork_evidence = std::move(evidence);
}

// --- Buildkite

// A slug as a part of PROJECT: with '/' or '=' in it, two pairs of slugs would make one text.
std::string part_of_project(const std::string& slug) {
  std::string part;
  for (const char c : slug) {
    if (c == '/') {
      part += "=2F";
    } else if (c == '=') {
      part += "=3D";
    } else {
      part += c;
    }
  }
  return part;
}

void read_buildkite(const Environment& environment, CiFacts& facts) {
  facts.ci = "buildkite";
  facts.branch = value_of(environment, "BUILDKITE_BRANCH");
  facts.tag = value_of(environment, "BUILDKITE_TAG");
  facts.step = first_of(environment, {"BUILDKITE_STEP_KEY", "BUILDKITE_STEP_ID"});
  facts.pipeline = value_of(environment, "BUILDKITE_PIPELINE_SLUG");
  const std::string organization = value_of(environment, "BUILDKITE_ORGANIZATION_SLUG");
  facts.project = part_of_project(facts.pipeline);
  if (!organization.empty()) facts.project = part_of_project(organization) + "/" + facts.project;
  facts.default_branch = value_of(environment, "BUILDKITE_PIPELINE_DEFAULT_BRANCH");
  const std::string number = value_of(environment, "BUILDKITE_PULL_REQUEST");
  const std::string head = value_of(environment, "BUILDKITE_PULL_REQUEST_REPO");
  const std::string own = value_of(environment, "BUILDKITE_REPO");
  if (number.empty() || number == "false") {
    // Its branch may be called as one of ours.
    if (!head.empty() && !is_same_repository(head, own))
      suspect(facts, Fork::yes, "BUILDKITE_PULL_REQUEST_REPO is another repository");
    return;
  }
  facts.pull_request = number;
  facts.base = value_of(environment, "BUILDKITE_PULL_REQUEST_BASE_BRANCH");
  if (head.empty() || own.empty()) {
    suspect(facts, Fork::unknown, "BUILDKITE_PULL_REQUEST_REPO or BUILDKITE_REPO is not set");
  } else if (!is_same_repository(head, own)) {
    suspect(facts, Fork::yes,
            "the pull request comes from another repository, as far as its URL tells");
  }
}

// --- GitHub

// What stands at a path of names; null where there is nothing.
const Json& at(const Json& json, std::initializer_list<const char*> names) {
  static const Json nothing;
  const Json* here = &json;
  for (const char* name : names) {
    if (!here->is_object()) return nothing;
    const auto found = here->find(name);
    if (found == here->end()) return nothing;
    here = &*found;
  }
  return *here;
}

std::string text_at(const Json& json, std::initializer_list<const char*> names) {
  const Json& value = at(json, names);
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_unsigned()) return std::to_string(value.get<uint64_t>());
  return "";
}

// Null where it cannot be read.
Json github_event(const Environment& environment) {
  const auto path = environment("GITHUB_EVENT_PATH");
  if (!path) return {};
  const auto text = read_regular_file(*path, kEventBytes);
  if (!text) {
    log::warn("the event of this job is not known: {}", text.error().text());
    return {};
  }
  Json event = Json::parse(as_text(text->view()), nullptr, /*allow_exceptions=*/false);
  return event.is_discarded() ? Json() : event;
}

void compare_repositories(CiFacts& facts, const std::string& head, const std::string& own) {
  if (head.empty() || own.empty()) {
    suspect(facts, Fork::unknown, "the event does not say which repository this comes from");
  } else if (head != own) {
    suspect(facts, Fork::yes, "this comes from the repository " + head);
  }
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// Events whose jobs run the code of the ref that they name. Those of a pull request do where their
// event says that it is no fork's; of any other, a comment's for one, nobody knows.
bool is_of_its_ref(std::string_view kind) {
  constexpr std::string_view kKinds[] = {
      "push",   "schedule",    "workflow_dispatch", "repository_dispatch", "release",
      "create", "merge_group", "pull_request",      "pull_request_target", "workflow_run"};
  return std::find(std::begin(kKinds), std::end(kKinds), kind) != std::end(kKinds);
}

void read_github(const Environment& environment, CiFacts& facts) {
  facts.ci = "github";
  const Json event = github_event(environment);
  facts.project = value_of(environment, "GITHUB_REPOSITORY");
  facts.step = value_of(environment, "GITHUB_JOB");
  facts.pipeline = value_of(environment, "GITHUB_WORKFLOW");
  facts.default_branch = text_at(event, {"repository", "default_branch"});
  const std::string name = value_of(environment, "GITHUB_REF_NAME");
  const bool is_tag = value_of(environment, "GITHUB_REF_TYPE") == "tag" ||
                      value_of(environment, "GITHUB_REF").starts_with("refs/tags/");
  (is_tag ? facts.tag : facts.branch) = name;
  const std::string kind = value_of(environment, "GITHUB_EVENT_NAME");
  const bool has_pull_request = at(event, {"pull_request"}).is_object();
  if (kind.starts_with("pull_request") || has_pull_request) {
    facts.branch = first_of(environment, {"GITHUB_HEAD_REF", "GITHUB_REF_NAME"});
    facts.tag.clear();
    facts.pull_request = text_at(event, {"pull_request", "number"});
    if (facts.pull_request.empty()) {
      // "12/merge". Never without one: its scope would be a branch's.
      facts.pull_request = name.empty() ? "unknown" : name.substr(0, name.find('/'));
    }
    facts.base = value_of(environment, "GITHUB_BASE_REF");
    if (facts.base.empty()) facts.base = text_at(event, {"pull_request", "base", "ref"});
    compare_repositories(facts, text_at(event, {"pull_request", "head", "repo", "full_name"}),
                         facts.project);
    if (!is_number(facts.pull_request) && facts.fork == Fork::no)
      suspect(facts, Fork::unknown, "the event does not say which pull request this is");
  } else if (kind == "workflow_run") {
    compare_repositories(facts, text_at(event, {"workflow_run", "head_repository", "full_name"}),
                         facts.project);
    if (text_at(event, {"workflow_run", "event"}).starts_with("pull_request") &&
        facts.fork == Fork::no) {
      suspect(facts, Fork::unknown, "this goes on with what a pull request's run made");
    }
  }
  if (facts.fork == Fork::no && !is_of_its_ref(kind)) {
    suspect(facts, Fork::unknown,
            kind.empty() ? "GITHUB_EVENT_NAME is not set"
                         : "a job for this event may run anybody's code: " + kind);
  }
}

// --- GitLab

void read_gitlab(const Environment& environment, CiFacts& facts) {
  facts.ci = "gitlab";
  facts.project = value_of(environment, "CI_PROJECT_PATH");
  facts.branch = first_of(environment, {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH"});
  facts.tag = value_of(environment, "CI_COMMIT_TAG");
  facts.step = value_of(environment, "CI_JOB_NAME");
  facts.pipeline = value_of(environment, "CI_PROJECT_NAME");
  facts.default_branch = value_of(environment, "CI_DEFAULT_BRANCH");
  facts.pull_request = value_of(environment, "CI_MERGE_REQUEST_IID");
  if (facts.pull_request.empty()) {
    const bool is_one = value_of(environment, "CI_PIPELINE_SOURCE").ends_with("_request_event") ||
                        environment("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH") ||
                        environment("CI_EXTERNAL_PULL_REQUEST_IID");
    if (is_one)
      suspect(facts, Fork::unknown, "a merge request whose CI_MERGE_REQUEST_IID is not set");
    return;
  }
  facts.base = value_of(environment, "CI_MERGE_REQUEST_TARGET_BRANCH_NAME");
  compare_repositories(facts, value_of(environment, "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH"),
                       value_of(environment, "CI_MERGE_REQUEST_PROJECT_PATH"));
}

bool is_set(const Environment& environment, const char* name) {
  const auto value = environment(name);
  return value && *value != "false" && *value != "0";
}

}  // namespace

CiFacts read_ci(const Environment& environment) {
  CiFacts facts;
  facts.os = "linux";
  facts.arch = kArch;
  // Also where another CI, or none, takes a job's summary in this way.
  facts.summary = environment("GITHUB_STEP_SUMMARY");
  if (is_set(environment, "BUILDKITE")) {
    read_buildkite(environment, facts);
  } else if (is_set(environment, "GITHUB_ACTIONS")) {
    read_github(environment, facts);
  } else if (is_set(environment, "GITLAB_CI")) {
    read_gitlab(environment, facts);
  }
  return facts;
}

Result<> set_fact(CiFacts& facts, std::string_view assignment) {
  const size_t equals = assignment.find('=');
  const std::string_view name = assignment.substr(0, equals);
  if (equals == std::string_view::npos) {
    return Error(Code::invalid, "\"" + std::string(assignment) + "\" is not NAME=VALUE");
  }
  std::string value(assignment.substr(equals + 1));
  constexpr std::pair<std::string_view, std::string CiFacts::*> kNames[] = {
      {"os", &CiFacts::os},           {"arch", &CiFacts::arch},
      {"branch", &CiFacts::branch},   {"step", &CiFacts::step},
      {"project", &CiFacts::project}, {"pipeline", &CiFacts::pipeline},
      {"base", &CiFacts::base},       {"default", &CiFacts::default_branch},
      {"tag", &CiFacts::tag},         {"pr", &CiFacts::pull_request}};
  for (const auto& [known, member] : kNames) {
    if (name != known) continue;
    facts.*member = std::move(value);
    return {};
  }
  if (name == "fork" && (value == "true" || value == "false")) {
    // "false" answers what the CI leaves open; what it says itself nobody takes back.
    if (value == "true") suspect(facts, Fork::yes, "--agent fork=true");
    if (value == "false" && facts.fork == Fork::unknown) suspect(facts, Fork::no, "");
    return {};
  }
  if (name == "fork") return Error(Code::invalid, "fork is true or false");
  return Error(Code::invalid, "unknown fact \"" + std::string(name) +
                                  "\": os, arch, branch, step, pipeline, project, base, default, "
                                  "tag, pr or fork");
}

}  // namespace thaw::cache
