#include "gc/retention.h"

#include <algorithm>

namespace thaw::gc {
namespace {

// * and ?, by the usual two-pointer walk: the last star is the only one worth going back to.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;
  size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool keeps_label(const RetentionRule& rule, const Candidate& candidate) {
  if (candidate.labels == nullptr) return false;
  return std::any_of(
      rule.keep_label.begin(), rule.keep_label.end(), [&](const LabelPattern& pattern) {
        const auto label = candidate.labels->find(pattern.name);
        return label != candidate.labels->end() && matches(pattern.value, label->second);
      });
}

bool is_older(Timestamp then, Timestamp now, std::chrono::seconds age) {
  // In double: ages and clocks from outside may be any number.
  return static_cast<double>(now.ns) - static_cast<double>(then.ns) >
         1e9 * static_cast<double>(age.count());
}

}  // namespace

const RetentionRule* rule_for(const std::vector<RetentionRule>& rules, const Key& key) {
  const RetentionRule* longest = nullptr;
  for (const RetentionRule& rule : rules) {
    if (!prefix_covers(rule.prefix, key.text())) continue;
    if (longest == nullptr || rule.prefix.size() > longest->prefix.size()) longest = &rule;
  }
  return longest;
}

std::vector<Expired> expired(const RetentionRule& rule, const std::vector<Candidate>& live,
                             std::optional<Timestamp> last_use, Timestamp now) {
  std::vector<Expired> gone;
  if (live.empty()) return gone;
  const Timestamp used = std::max(live.front().published, last_use.value_or(Timestamp{INT64_MIN}));
  const bool unused = rule.ttl && is_older(used, now, *rule.ttl);
  const bool limits = rule.keep_last || rule.keep_within || !rule.keep_label.empty();
  for (size_t i = 0; i < live.size(); ++i) {
    if (keeps_label(rule, live[i])) continue;
    if (unused) {
      gone.push_back({live[i].generation, Expiry::unused});
      continue;
    }
    const bool kept = !limits || i == 0 || (rule.keep_last && i < *rule.keep_last) ||
                      (rule.keep_within && !is_older(live[i].published, now, *rule.keep_within));
    if (!kept) gone.push_back({live[i].generation, Expiry::surplus});
  }
  return gone;
}

}  // namespace thaw::gc
