// What `thaw run` works on: words and configuration together, path by path.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "app/config.h"
#include "app/locations.h"
#include "base/environment.h"
#include "cli/wrap_words.h"
#include "format/key.h"
#include "run/paths.h"

namespace thaw::cli {

// An object of a bucket that holds an archive of a path.
struct ArchivePlace {
  std::string bucket;
  std::string region;
  std::string object;
};

// A path with all that its store needs. A plain value.
struct PathPlan {
  std::string path;               // absolute
  std::string key;                // as it was written, for events
  std::optional<Key> parsed_key;  // empty: it is none, and there is an archive
  Config config;                  // with the store and the credentials of this path
  std::optional<ArchivePlace> archive;
};

// Empty where no path is named, or no store. Code::invalid where they make no sense together.
Result<std::vector<PathPlan>> plan_paths(const WrapWords& words, const Config& config);

// What thaw itself writes on this machine for these paths, absolute and without links: stores that
// are directories, and what is remembered of files.
std::vector<std::string> own_places(const std::vector<PathPlan>& plans, const Locations& locations);

// For run::Work. `words`, `locations` and `environment` outlive what it answers.
run::OpenPath opener(std::vector<PathPlan> plans, const WrapWords& words,
                     const Locations& locations, const Environment& environment);

}  // namespace thaw::cli
