// Retention: which generations of which keys are kept. Pure. See docs/gc.md, "Retention".
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "format/key.h"
#include "format/record.h"

namespace thaw::gc {

// A label that keeps a generation: a name, and what its value has to look like.
struct LabelPattern {
  std::string name;
  std::string value = "*";  // with * and ?
};

// A rule for the keys below a prefix. A plain value.
struct RetentionRule {
  std::string prefix{};  // of whole segments; empty: every key
  std::optional<uint64_t> keep_last{};
  std::optional<std::chrono::seconds> keep_within{};
  std::vector<LabelPattern> keep_label{};
  std::optional<std::chrono::seconds> ttl{};  // since the key's last use
};

// The rule that counts for a key: the one with the longest prefix that covers it. Null for none.
const RetentionRule* rule_for(const std::vector<RetentionRule>& rules, const Key& key);

// A live generation, as far as retention cares.
struct Candidate {
  uint64_t generation = 0;
  Timestamp published;  // by the store's clock
  const Labels* labels = nullptr;
};

enum class Expiry {
  surplus,  // no keep_… keeps it
  unused,   // the key's ttl has passed
};

struct Expired {
  uint64_t generation = 0;
  Expiry why = Expiry::surplus;
};

// The generations of one key that the rule gives up. `live` is newest first. `last_use` is when the
// key was last restored, if that is known; its newest generation is a use too.
std::vector<Expired> expired(const RetentionRule& rule, const std::vector<Candidate>& live,
                             std::optional<Timestamp> last_use, Timestamp now);

}  // namespace thaw::gc
