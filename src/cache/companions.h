// Companions: the generations of a cache's other targets, named by its first target's entry, the
// record of the save (docs/cache.md, "Several targets").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "format/digest.h"
#include "format/record.h"

namespace thaw::cache {

struct Companion {
  uint64_t generation = 0;
  Digest snapshot;
  bool operator==(const Companion&) const = default;
};

// A plain value.
struct Companions {
  std::string address;             // that they lie under: Address::digest() of the whole key
  std::vector<Companion> targets;  // the second target's first; empty for a cache of one target
  bool operator==(const Companions&) const = default;
};

// Adds the labels that name them; none where there are no companions. Precondition: fewer of them
// than kMostTargets.
void add_companions(const Companions& companions, Labels& labels);

// What an entry's labels name; they may hold anything. Empty where they do not name exactly `count`
// companions. Where `count` is 0 the labels do not matter, and the answer is not empty.
std::optional<Companions> companions_of(const Labels& labels, size_t count);

}  // namespace thaw::cache
