#include "snapshot/soundness.h"

#include <algorithm>
#include <random>

#include "base/log.h"
#include "base/task_group.h"
#include "snapshot/catalog.h"

namespace thaw {
namespace {

// A lost pack is one of few, or of many that went together: either way a sample of this size finds
// it soon, and costs a bucket one round trip of four.
constexpr size_t kMostFinds = 64;

enum class Found { yes, no, forbidden };

Result<Found> find_pack(const Context& context, ObjectStore& store, const PackRef& pack) {
  auto info = store.find(context, pack_object(pack.id));
  // Who saves need not be allowed to read packs.
  if (!info && info.error().code() == Code::denied) return Found::forbidden;
  if (!info) return std::move(info).error();
  return *info && (*info)->size_bytes == pack.size_bytes ? Found::yes : Found::no;
}

}  // namespace

std::optional<std::string> Soundness::manifest_fault(const Entry& entry) const {
  const auto* at = std::get_if<ManifestRef>(&entry.manifest);
  if (at == nullptr) return std::nullopt;
  if (missing_.count(at->id) != 0) return manifest_object(at->id).text() + " is damaged";
  if (condemned_.count(at->id) == 0) return std::nullopt;
  return manifest_object(at->id).text() + " is about to be collected";
}

void Soundness::condemn(const Condemned& condemned) {
  condemned_.insert(condemned.packs.begin(), condemned.packs.end());
  condemned_.insert(condemned.manifests.begin(), condemned.manifests.end());
}

Result<bool> Soundness::is_sound(const Context& context, const Entry& entry) {
  if (const auto known = concluded(entry)) return *known;
  THAW_ASSIGN(const auto fault, fault_of(context, entry));
  return conclude(entry, fault);
}

bool Soundness::conclude(const Entry& entry, const std::optional<std::string>& fault) {
  concluded_[entry.nonce] = !fault;
  if (fault) {
    log::warn(
        "{}@{} is broken, so it is no base for this save and an equal tree is stored anew: {}",
        entry.key, entry.generation, *fault);
  }
  return !fault;
}

std::optional<bool> Soundness::concluded(const Entry& entry) const {
  const auto known = concluded_.find(entry.nonce);
  return known == concluded_.end() ? std::nullopt : std::optional(known->second);
}

Result<std::optional<std::string>> Soundness::fault_of(const Context& context, const Entry& entry) {
  if (auto fault = manifest_fault(entry)) return fault;
  auto packs = load_packs(context, store_, entry);
  if (packs) return fault_of(context, *packs);
  if (packs.error().code() == Code::corrupt) return std::optional(packs.error().text());
  return std::move(packs).error();
}

std::optional<std::string> Soundness::known_fault(const std::vector<PackRef>& packs) const {
  for (const PackRef& pack : packs) {
    if (missing_.count(pack.id) != 0) return pack_object(pack.id).text() + " is missing or damaged";
    if (condemned_.count(pack.id) != 0)
      return pack_object(pack.id).text() + " is about to be collected";
  }
  return std::nullopt;
}

Result<std::optional<std::string>> Soundness::fault_of(const Context& context,
                                                       const std::vector<PackRef>& packs) {
  if (auto known = known_fault(packs)) return known;
  std::vector<PackRef> asked;
  std::sample(packs.begin(), packs.end(), std::back_inserter(asked), kMostFinds,
              std::mt19937(std::random_device{}()));
  std::erase_if(asked, [&](const PackRef& pack) { return sound_.count(pack.id) != 0; });
  std::vector<Found> found(asked.size(), Found::yes);
  const auto threads = static_cast<unsigned>(std::min<size_t>(finds_at_once_, asked.size()));
  THAW_CHECK(parallel_for(context, std::max(threads, 1U), asked.size(),
                          [&](const Context& inner, unsigned, size_t i) -> Result<> {
                            THAW_ASSIGN(found[i], find_pack(inner, store_, asked[i]));
                            return {};
                          }));
  for (size_t i = 0; i < asked.size(); ++i) {
    if (found[i] == Found::forbidden) log::info("packs may not be looked at");
    (found[i] == Found::no ? missing_ : sound_).insert(asked[i].id);
  }
  return known_fault(packs);
}

}  // namespace thaw
