#include "cache/lookup.h"

#include "snapshot/catalog.h"

namespace thaw::cache {

std::vector<Place> places_of(const Address& address, const std::vector<std::string>& scopes) {
  std::vector<Place> places;
  for (size_t parts = address.parts(); parts >= address.required_parts(); --parts) {
    for (const std::string& scope : scopes) places.push_back({scope, parts});
  }
  return places;
}

Result<std::optional<Found>> look_up(const Context& context, ObjectStore& store,
                                     const Address& address, const Place& place, size_t targets,
                                     std::optional<KeyRef>* corrupt) {
  Found found{place.scope, place.parts, {}};
  for (size_t target = 0; target < targets; ++target) {
    const Key key = address.key(place.scope, place.parts, target);
    auto newest = find_newest(context, store, key);
    if (!newest && newest.error().code() == Code::corrupt && corrupt != nullptr) {
      THAW_ASSIGN(const auto generations, generations_of(context, store, key));
      if (!generations.empty()) *corrupt = KeyRef{key, generations.front()};
    }
    if (!newest) return std::move(newest).error();
    if (!*newest) return std::optional<Found>();
    found.entries.push_back(**std::move(newest));
  }
  return std::optional<Found>(std::move(found));
}

}  // namespace thaw::cache
