// What this machine met of a store that was damaged: so that the next save stores it anew, and not
// on top of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "base/random.h"

namespace thaw {

// Ids of packs and manifests that a reader found missing or damaged twice in a row: an empty file
// each, named by the id, in a folder that may be deleted at any time. Ids are random, so the stores
// of a machine share one folder. Thread-safe; best-effort throughout: what fails is logged.
class KnownDamage {
 public:
  // Without a folder nothing is remembered.
  explicit KnownDamage(std::optional<std::string> folder) : folder_(std::move(folder)) {}

  void remember(const RandomId& id) const;
  // What was remembered during the last 30 days. Older notes are removed.
  std::set<RandomId> recall() const;

 private:
  std::optional<std::string> folder_;
  mutable std::atomic<uint32_t> remembered_{0};
};

}  // namespace thaw
