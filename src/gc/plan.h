// Plan: what a collector does with what it found. Pure. See docs/gc.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "gc/retention.h"
#include "gc/survey.h"

namespace thaw::gc {

struct Retirement {
  Key key;
  uint64_t generation = 0;
  Expiry why = Expiry::surplus;
};

// How many objects of one kind, and how large.
struct Tally {
  uint64_t objects = 0;
  uint64_t bytes = 0;
  void add(const ObjectFound& object) {
    ++objects;
    bytes += object.size_bytes;
  }
};

struct Plan {
  std::vector<Retirement> retire;
  std::vector<ObjectFound> sweep;       // packs and manifests that go now
  std::vector<ObjectFound> mark;        // and those that a later run looks at again
  std::vector<ObjectKey> done_records;  // condemned records that have nothing left to say,
  std::vector<ObjectKey> done_claims;   // and the claims on them, which go after them
  std::vector<ObjectKey> tidy;          // tombstones, last uses, refusals, probes

  // For people.
  uint64_t keys = 0;
  uint64_t generations = 0;  // live ones
  Tally live;                // packs and manifests that a generation needs
  Tally leased;              // not needed, but under a lease
  Tally young;               // not needed, and younger than the grace period
  Tally waiting;             // condemned, and the grace period is not over
  // Of frames that no generation needs, in packs of which others are needed: at most so much.
  uint64_t dead_bytes = 0;
  uint64_t missing = 0;  // packs and manifests that a generation needs and that are not there
  std::vector<std::string> broken;  // "KEY@N", some of those that need them
};

struct PlanOptions {
  std::vector<RetentionRule> retention{};
  std::chrono::seconds grace{24 * 3600};
};

Plan plan(const Survey& survey, const PlanOptions& options);

}  // namespace thaw::gc
