#include "snapshot/refusals.h"

#include <algorithm>
#include <vector>

#include "base/log.h"

namespace thaw {
namespace {

// Of the first one: so its name is known, and it tells whether there are any.
const RandomId kFirst{};

Result<ObjectKey> name_of(const Key& key, uint64_t newest, const RandomId& id) {
  return ObjectKey::parse(refusal_prefix(key, newest) + id.hex());
}

}  // namespace

Result<uint64_t> count_refusals(const Context& context, ObjectStore& store, const Key& key,
                                uint64_t newest) {
  THAW_ASSIGN(const ListPage page, store.list(context, refusal_prefix(key, newest), {}));
  return uint64_t{page.objects.size()};
}

Result<> note_refusal(const Context& context, ObjectStore& store, const Refusal& refusal,
                      uint64_t count) {
  THAW_ASSIGN(const Key key, Key::parse(refusal.key));
  THAW_ASSIGN(const Buffer bytes, encode_refusal(refusal));
  if (count == 0) {
    THAW_ASSIGN(const ObjectKey first, name_of(key, refusal.newest, kFirst));
    THAW_ASSIGN(const PutOutcome outcome, store.put(context, first, bytes, PutMode::create));
    if (outcome == PutOutcome::stored) return {};
  }
  THAW_ASSIGN(const ObjectKey object, name_of(key, refusal.newest, RandomId::fresh()));
  THAW_CHECK(store.put(context, object, bytes, PutMode::create));
  return {};
}

bool has_refusals(const Context& context, ObjectStore& store, const Key& key, uint64_t newest) {
  const auto first = name_of(key, newest, kFirst);
  if (!first) return false;
  const auto found = store.find(context, *first);
  return found && *found;
}

void clear_refusals(const Context& context, ObjectStore& store, const Key& key, uint64_t newest) {
  const auto page = store.list(context, refusal_prefix(key, newest), {});
  std::vector<ObjectKey> names;
  if (page)
    for (const Listed& listed : page->objects) names.push_back(listed.key);
  if (names.empty()) return;
  // The first one last: as long as it is there, the others are found.
  std::reverse(names.begin(), names.end());
  const auto removed = store.remove(context, names);
  if (!removed) log::info("old refusals stay: {}", removed.error().text());
}

}  // namespace thaw
