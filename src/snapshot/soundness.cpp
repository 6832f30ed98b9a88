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
constexpr unsigned kFindsAtOnce = 16;
// Holds the heads of manifests with 500 packs, 8 GiB: one GET.
constexpr uint64_t kHeadBytes = 16 * 1024;

enum class Found { yes, no, forbidden };

Result<Found> find_pack(const Context& context, ObjectStore& store, const PackRef& pack) {
  auto info = store.find(context, pack_object(pack.id));
  // Who saves need not be allowed to read packs.
  if (!info && info.error().code() == Code::denied) return Found::forbidden;
  if (!info) return std::move(info).error();
  return *info && (*info)->size_bytes == pack.size_bytes ? Found::yes : Found::no;
}

}  // namespace

bool Soundness::is_damaged(const Entry& entry) const {
  const auto* at = std::get_if<ManifestRef>(&entry.manifest);
  return at != nullptr && missing_.count(at->id) != 0;
}

Result<std::optional<std::string>> Soundness::fault_of(const Context& context, const Entry& entry) {
  if (is_damaged(entry)) {
    return std::optional(manifest_object(std::get<ManifestRef>(entry.manifest).id).text() +
                         " is damaged");
  }
  auto packs = read_packs(context, entry);
  if (packs) return fault_of(context, *packs);
  if (packs.error().code() == Code::corrupt) return std::optional(packs.error().text());
  return std::move(packs).error();
}

Result<std::vector<PackRef>> Soundness::read_packs(const Context& context, const Entry& entry) {
  uint64_t needed_bytes = 0;
  if (const auto* inlined = std::get_if<Buffer>(&entry.manifest)) {
    return decode_manifest_head(inlined->view(), &needed_bytes);
  }
  const auto& at = std::get<ManifestRef>(entry.manifest);
  const ObjectKey object = manifest_object(at.id);
  uint64_t length = std::min(kHeadBytes, at.size_bytes);
  while (true) {
    auto head = store_.get(context, object, ByteRange::of(0, length), Freshness::origin);
    if (!head && head.error().code() == Code::not_found)
      return Error(Code::corrupt, object.text() + " is missing");
    if (!head) return std::move(head).error();
    if (head->info.size_bytes != at.size_bytes)
      return Error(Code::corrupt, object.text() + " has not its length");
    auto packs = decode_manifest_head(head->bytes.view(), &needed_bytes).within(object.text());
    if (packs || needed_bytes <= length || length == at.size_bytes) return packs;
    length = std::min(needed_bytes, at.size_bytes);
  }
}

std::optional<std::string> Soundness::known_fault(const std::vector<PackRef>& packs) const {
  for (const PackRef& pack : packs) {
    if (missing_.count(pack.id) != 0) return pack_object(pack.id).text() + " is missing or damaged";
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
  const auto threads = static_cast<unsigned>(std::min<size_t>(kFindsAtOnce, asked.size()));
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
