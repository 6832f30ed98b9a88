#include "cli/requests.h"

#include <utility>

#include "cli/describe.h"
#include "cli/protected_paths.h"

namespace thaw::cli {

RestoreRequest restore_request(const Session& session, KeyRef ref, std::string target) {
  return {.ref = std::move(ref),
          .target = std::move(target),
          .protected_paths = protected_paths(session),
          .stat_cache_dir = stat_cache_dir(session),
          .damage_dir = damage_dir(session),
          .threads = session.config.threads,
          .distance = session.distance()};
}

SaveRequest save_request(const Session& session, Key key, std::string path) {
  const Config& config = session.config;
  const auto stat_cache = stat_cache_dir(session);
  std::vector<std::string> skip;
  if (session.opened.local_path) skip.push_back(*session.opened.local_path);
  // It changes with every save, so a tree that holds it would never be unchanged.
  if (stat_cache) skip.push_back(*stat_cache);
  return {.key = std::move(key),
          .path = std::move(path),
          .skip = std::move(skip),
          .unchanged_by = config.unchanged_by,
          .policy = config.policy,
          .stat_cache_dir = stat_cache,
          .damage_dir = damage_dir(session),
          .compression_level = config.compression_level,
          .threads = config.threads,
          .distance = session.distance()};
}

RestoreMode restore_mode(const std::string& word) {
  if (word == "merge") return RestoreMode::merge;
  if (word == "sync") return RestoreMode::sync;
  return RestoreMode::replace;
}

}  // namespace thaw::cli
