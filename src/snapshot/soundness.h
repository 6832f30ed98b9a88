// Whether a snapshot can still be restored, as far as a save may spend on finding out.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/context.h"
#include "format/manifest.h"
#include "format/record.h"
#include "object/store.h"

namespace thaw {

// Asks the store for the packs that snapshots need; each is asked for once. One thread at a time.
class Soundness {
 public:
  // `damaged`: packs and manifests that count as missing.
  Soundness(ObjectStore& store, std::set<RandomId> damaged)
      : store_(store), missing_(std::move(damaged)) {}

  // What the snapshot of this entry lacks, named; empty when nothing was found. Looks at the
  // manifest's head (one GET), then as the next one.
  Result<std::optional<std::string>> fault_of(const Context& context, const Entry& entry);
  // Looks whether the packs are there and as long as they should be: up to 64 of them, chosen at
  // random when there are more, and up to 16 at once. What this machine may not look at counts as
  // there.
  Result<std::optional<std::string>> fault_of(const Context& context,
                                              const std::vector<PackRef>& packs);
  // Whether the manifest of this entry is known to be damaged.
  bool is_damaged(const Entry& entry) const;

 private:
  std::optional<std::string> known_fault(const std::vector<PackRef>& packs) const;
  Result<std::vector<PackRef>> read_packs(const Context& context, const Entry& entry);

  ObjectStore& store_;
  std::set<RandomId> missing_;
  std::set<RandomId> sound_;
};

}  // namespace thaw
