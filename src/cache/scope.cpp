#include "cache/scope.h"

#include <fmt/format.h>

#include <algorithm>

#include "format/digest.h"
#include "snapshot/glob.h"

namespace thaw::cache {
namespace {

constexpr size_t kMostBytes = 120;
constexpr size_t kKeptBytes = 48;
constexpr size_t kDigestDigits = 32;

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

}  // namespace

std::string segment_of(std::string_view text) {
  if (text.empty()) return "=none";
  const bool is_dots = text == "." || text == "..";
  std::string segment;
  for (const char c : text) {
    if (is_plain(c) && !is_dots) {
      segment += c;
    } else {
      segment += fmt::format("={:02X}", static_cast<unsigned char>(c));
    }
  }
  if (segment.size() <= kMostBytes) return segment;
  return segment.substr(0, kKeptBytes) + "=~" +
         sha256(as_bytes(text)).hex().substr(0, kDigestDigits);
}

std::vector<std::string> scopes_of(const CiFacts& facts) {
  std::vector<std::string> scopes;
  const auto add = [&scopes](const char* kind, const std::string& name) {
    if (name.empty()) return;
    std::string scope = kind + segment_of(name);
    if (std::find(scopes.begin(), scopes.end(), scope) == scopes.end())
      scopes.push_back(std::move(scope));
  };
  if (!facts.pull_request.empty()) {
    add("pr.", facts.pull_request);
  } else if (!facts.tag.empty()) {
    add("tag.", facts.tag);
  } else {
    add("branch.", facts.branch);
  }
  if (scopes.empty()) scopes.emplace_back("unscoped");
  add("branch.", facts.base);
  add("branch.", facts.default_branch);
  return scopes;
}

Result<WritePolicy> WritePolicy::parse(std::string_view text) {
  WritePolicy policy;
  const std::string_view word = trimmed(text);
  if (word == "always") return policy;
  if (word == "never") {
    policy.who_ = Who::nobody;
    return policy;
  }
  constexpr std::string_view kBranches = "branches:";
  const Error wrong(Code::invalid,
                    "expected \"always\", \"never\" or \"branches: [main, release/*]\"");
  if (!word.starts_with(kBranches)) return wrong;
  std::string_view list = trimmed(word.substr(kBranches.size()));
  if (list.size() < 2 || list.front() != '[' || list.back() != ']') return wrong;
  list = list.substr(1, list.size() - 2);
  policy.who_ = Who::branches;
  while (!trimmed(list).empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    const std::string_view pattern = trimmed(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
    // As in the example: quotes would be a part of the name, and match nothing.
    if (pattern.find_first_of("\"'") != std::string_view::npos) return wrong;
    // Anchored by '/': "main" is not "somebody/main".
    std::string anchored = "/" + std::string(pattern);
    THAW_CHECK(check_glob(anchored));
    policy.branches_.push_back(std::move(anchored));
  }
  if (policy.branches_.empty()) return wrong;
  return policy;
}

std::optional<std::string> WritePolicy::refusal(const CiFacts& facts) const {
  if (facts.fork == Fork::yes) return "a fork's job only reads: " + facts.fork_evidence;
  if (facts.fork == Fork::unknown)
    return "whether this is a fork's job is not known: " + facts.fork_evidence;
  if (who_ == Who::nobody) return "write is \"never\"";
  if (who_ == Who::everybody) return std::nullopt;
  if (!facts.pull_request.empty() || !facts.tag.empty())
    return "write names branches, and this is none";
  if (facts.branch.empty()) return "write names branches, and this job's is not known";
  if (Globs(branches_).match(facts.branch)) return std::nullopt;
  return "write does not name the branch " + facts.branch;
}

}  // namespace thaw::cache
