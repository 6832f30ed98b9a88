#include "cache/lookup.h"

#include <algorithm>

#include "cache/companions.h"
#include "snapshot/catalog.h"

namespace thaw::cache {
namespace {

// So many generations of a record are read where the newest leads nowhere.
constexpr size_t kMostGenerations = 16;

using Maybe = std::optional<Found>;

// One look at one place.
class Look {
 public:
  Look(const Context& context, ObjectStore& store, const Address& address, const Place& place,
       std::vector<KeyRef>* broken, const std::vector<KeyRef>& passed_over)
      : context_(context),
        store_(store),
        address_(address),
        place_(place),
        key_(address.key(place.scope, place.parts, 0)),
        broken_(broken),
        passed_over_(passed_over) {}

  Result<Maybe> newest_whole() {
    auto newest = find_newest(context_, store_, key_);
    if (!newest && newest.error().code() != Code::corrupt) return std::move(newest).error();
    if (newest) {
      if (!*newest) return Maybe();
      THAW_ASSIGN(Maybe found, whole(**std::move(newest)));
      if (found) return found;
    }
    return any_whole();
  }

 private:
  // Each generation in turn: nothing can be made of the newest. It costs more, and is rare.
  Result<Maybe> any_whole() {
    THAW_ASSIGN(const auto generations, generations_of(context_, store_, key_));
    const size_t count = std::min(generations.size(), kMostGenerations);
    size_t passed = 0;
    for (size_t i = 0; i < count; ++i) {
      if (is_passed_over({key_, generations[i]})) {
        ++passed;
        continue;
      }
      auto record = find_generation(context_, store_, key_, generations[i]);
      if (!record && record.error().code() == Code::corrupt) blame({KeyRef{key_, generations[i]}});
      THAW_ASSIGN(auto entry, std::move(record));
      if (!entry) continue;
      THAW_ASSIGN(Maybe found, whole(*std::move(entry)));
      if (found) {
        found->newest = passed == 0;
        return found;
      }
      ++passed;
    }
    return Maybe();
  }

  // The record with its companions; empty where it names none, or one of them is gone.
  Result<Maybe> whole(Entry record) {
    const auto companions = companions_of(record.labels, address_.targets() - 1);
    if (!companions) return Maybe();
    const KeyRef own{key_, record.generation};
    if (is_passed_over(own)) return Maybe();
    Found found;
    found.scope = place_.scope;
    found.parts = place_.parts;
    found.entries.push_back(std::move(record));
    for (const Companion& each : companions->targets) {
      const Key key = address_.key_below(place_.scope, companions->address, found.entries.size());
      if (is_passed_over({key, each.generation})) return Maybe();
      auto there = find_generation(context_, store_, key, each.generation);
      if (!there && there.error().code() == Code::corrupt)
        blame({KeyRef{key, each.generation}, own});
      THAW_ASSIGN(auto entry, std::move(there));
      if (!entry || entry->ids.snapshot != each.snapshot) return Maybe();
      found.entries.push_back(*std::move(entry));
    }
    return Maybe(std::move(found));
  }

  void blame(std::vector<KeyRef> refs) {
    if (broken_ != nullptr) *broken_ = std::move(refs);
  }

  bool is_passed_over(const KeyRef& ref) const {
    return std::any_of(passed_over_.begin(), passed_over_.end(), [&ref](const KeyRef& each) {
      return each.key == ref.key && each.generation == ref.generation;
    });
  }

  const Context& context_;
  ObjectStore& store_;
  const Address& address_;
  const Place& place_;
  const Key key_;
  std::vector<KeyRef>* const broken_;
  const std::vector<KeyRef>& passed_over_;
};

}  // namespace

std::vector<Place> places_of(const Address& address, const std::vector<std::string>& scopes) {
  std::vector<Place> places;
  for (size_t parts = address.parts(); parts >= address.required_parts(); --parts) {
    for (const std::string& scope : scopes) places.push_back({scope, parts});
  }
  return places;
}

Result<std::optional<Found>> look_up(const Context& context, ObjectStore& store,
                                     const Address& address, const Place& place,
                                     std::vector<KeyRef>* broken,
                                     const std::vector<KeyRef>& passed_over) {
  return Look(context, store, address, place, broken, passed_over).newest_whole();
}

KeyRef ref_of(const Entry& entry) { return {*Key::parse(entry.key), entry.generation}; }

}  // namespace thaw::cache
