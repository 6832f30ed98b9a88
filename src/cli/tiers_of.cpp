#include "cli/tiers_of.h"

#include <fmt/format.h>

#include "cli/text.h"
#include "object/block_names.h"

namespace thaw::cli {

void drop_from_tiers(const Session& session, const std::vector<ObjectKey>& objects,
                     const std::string& raw_prefix, Outcome& outcome) {
  if (session.config.tiers.empty()) return;
  outcome.fields["tiers"] = Fields::array();
  std::vector<std::string> faults;
  auto places = open_tiers(session.config, session.environment);
  if (!places) {
    faults.push_back(places.error().text());
  } else {
    faults = places->faults;
    const std::string folder = block_folder(session.opened.store_name);
    for (const TierPlace& tier : places->tiers) {
      const CleanedTier parts{tier.store.get(), tier.index.get(), tier.claims.get()};
      const auto dropped = gc::drop_from_tier(session.context, parts, folder, objects, raw_prefix);
      Fields fields = {{"name", tier.name}, {"ok", dropped.ok()}};
      if (dropped) {
        fields["blocks"] = dropped->blocks;
        fields["bytes"] = dropped->bytes;
        outcome.listing += fmt::format("dropped {} from {}\n", counted(dropped->blocks, "block"),
                                       printable(tier.name));
      } else {
        fields["message"] = dropped.error().text();
        faults.push_back(fmt::format("{}: {}", tier.name, dropped.error().text()));
      }
      outcome.fields["tiers"].push_back(std::move(fields));
    }
  }
  if (faults.empty()) return;
  outcome.status = Status::failed;
  outcome.reason = name_of(Code::unavailable);
  outcome.message = "removed from the store, but not from every tier: " + faults.front();
  // The store no longer tells what the removed generations needed.
  outcome.hint =
      "what is left of snapshots there is asked for by nobody, and ages out; `thaw invalidate` "
      "again drops raw objects' blocks";
}

}  // namespace thaw::cli
