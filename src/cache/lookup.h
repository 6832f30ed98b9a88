// Finding a cache in the store: a few exact look-ups, longest key first.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "cache/address.h"
#include "cache/job.h"
#include "format/record.h"

namespace thaw::cache {

// The generations of all targets of a cache under one key in one scope.
struct Found {
  std::string scope;
  size_t parts = 0;
  std::vector<Entry> entries;  // one for each target, in order
};

// Where entries of a cache may lie.
struct Place {
  std::string scope;
  size_t parts = 0;
};
// Longest key first; for each, the job's own scope first.
std::vector<Place> places_of(const Address& address, const std::vector<std::string>& scopes);

// All targets' newest generations there; empty where one is missing. Corrupt entries are
// Code::corrupt, and `corrupt`, where it is given, is told which.
Result<std::optional<Found>> look_up(const Context& context, ObjectStore& store,
                                     const Address& address, const Place& place, size_t targets,
                                     std::optional<KeyRef>* corrupt);

}  // namespace thaw::cache
