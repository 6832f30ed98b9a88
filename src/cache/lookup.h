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

// The generations of all targets of a cache that one save published, under one key in one scope.
struct Found {
  std::string scope;
  size_t parts = 0;
  std::vector<Entry> entries;  // one for each target, in order; the first is the record
  bool newest = true;          // no newer record, broken or leading nowhere, was passed over
};

// Where entries of a cache may lie.
struct Place {
  std::string scope;
  size_t parts = 0;
};
// Longest key first; for each, the job's own scope first.
std::vector<Place> places_of(const Address& address, const std::vector<std::string>& scopes);

// The newest save there of which everything is left; empty where there is none. A LIST and a GET,
// and a GET for each further target; more only where the newest record is broken or does not lead
// to all targets. An entry that is corrupt is Code::corrupt, and `broken`, which may be null, is
// told what must be retired for an older save to be found: the corrupt generation, and then the
// record that leads to it. What is in `passed_over`, or leads there, counts as gone. Thread-safe.
Result<std::optional<Found>> look_up(const Context& context, ObjectStore& store,
                                     const Address& address, const Place& place,
                                     std::vector<KeyRef>* broken,
                                     const std::vector<KeyRef>& passed_over = {});

// The generation that `entry` publishes. Precondition: the entry was read from a store.
KeyRef ref_of(const Entry& entry);

}  // namespace thaw::cache
