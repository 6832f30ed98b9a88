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
  static constexpr unsigned kFindsAtOnce = 16;
  // `damaged`: packs and manifests that count as missing.
  Soundness(ObjectStore& store, std::set<RandomId> damaged, unsigned finds_at_once = kFindsAtOnce)
      : store_(store), finds_at_once_(finds_at_once), missing_(std::move(damaged)) {}

  // What the snapshot of this entry lacks, named; empty when nothing was found. Looks at the
  // manifest's head (one GET), then as the next one.
  Result<std::optional<std::string>> fault_of(const Context& context, const Entry& entry);
  // Looks whether the packs are there and as long as they should be: up to 64 of them, chosen at
  // random when there are more, and so many at once. What this machine may not look at counts as
  // there.
  Result<std::optional<std::string>> fault_of(const Context& context,
                                              const std::vector<PackRef>& packs);
  // Why the manifest of this entry is not worth reading, if that is known.
  std::optional<std::string> manifest_fault(const Entry& entry) const;

  // These count as missing from now on: they may go at any moment.
  void condemn(const Condemned& condemned);
  // Forgets what was there: it is asked for again.
  void look_anew() { sound_.clear(); }

  // As fault_of(), asked once for each entry and concluded.
  Result<bool> is_sound(const Context& context, const Entry& entry);
  // Remembers, and answers, whether there is no fault; warns of one, for then the entry is no base
  // for this save and an equal tree is stored anew.
  bool conclude(const Entry& entry, const std::optional<std::string>& fault);
  // Remembers that it is not to be used.
  void disregard(const Entry& entry) { concluded_[entry.nonce] = false; }
  std::optional<bool> concluded(const Entry& entry) const;

 private:
  std::optional<std::string> known_fault(const std::vector<PackRef>& packs) const;

  ObjectStore& store_;
  const unsigned finds_at_once_;
  std::set<RandomId> missing_;
  std::set<RandomId> condemned_;
  std::set<RandomId> sound_;
  std::map<RandomId, bool> concluded_;  // by the entry's nonce
};

}  // namespace thaw
