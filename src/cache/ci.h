// What a job is, by the environment of the CI that runs it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/environment.h"
#include "base/result.h"

namespace thaw::cache {

// Whether what runs is of somebody who may not write to the repository.
enum class Fork { no, yes, unknown };

// A plain value; what is not known is empty.
struct CiFacts {
  std::string ci;  // "buildkite", "github", "gitlab"
  std::string os, arch, branch, step, pipeline;
  std::string project;         // "acme/shop"
  std::string base;            // of a pull request
  std::string default_branch;  //
  std::string tag;
  std::string pull_request;  // its number
  Fork fork = Fork::no;
  std::string fork_evidence;             // why it is not `no`, for people
  std::optional<std::string> summary{};  // a file that takes Markdown for people
};

// From the environment, and on GitHub the event's file. Whatever these hold, what comes out is at
// worst read-only. Docs: docs/cache.md, "The CI's environment".
CiFacts read_ci(const Environment& environment);

// "branch=main": sets one fact. Code::invalid for unknown names. "fork=false" leaves Fork::yes as
// it is: it answers only what the CI does not say.
Result<> set_fact(CiFacts& facts, std::string_view assignment);

}  // namespace thaw::cache
