#include "cli/wrap_paths.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "app/open_archive.h"
#include "app/open_store.h"
#include "archive/get.h"
#include "base/percent.h"
#include "cli/archive.h"
#include "cli/command.h"
#include "cli/requests.h"
#include "cli/store_place.h"
#include "snapshot/progress.h"

namespace thaw::cli {
namespace {

// Where snapshots lie in a bucket that was named for archives.
constexpr const char* kDecoPrefix = "thaw";

bool has_archive(const DecoCache& deco) { return !deco.bucket.empty() && !deco.key.empty(); }

// The paths, absolute, each with what is its own. Those of the command line stand alone; the
// configuration completes those that it names too.
Result<std::vector<RunPath>> paths_of(const WrapWords& words, const Config& config) {
  std::vector<RunPath> configured = config.run_paths;
  for (RunPath& each : configured) {
    THAW_ASSIGN(each.path, path_to_keep(each.path).within("run.path"));
  }
  if (words.paths().empty()) return configured;
  std::vector<RunPath> paths = words.paths();
  for (RunPath& path : paths) {
    for (const RunPath& other : configured) {
      if (other.path != path.path) continue;
      if (!path.key) path.key = other.key;
      if (!path.store) path.store = other.store;
      path.credentials = other.credentials;
    }
  }
  return paths;
}

Config config_of(const RunPath& path, const Config& config) {
  Config own = config;
  if (path.store) {
    own.store = path.store;
  } else if (!own.store && !config.deco.bucket.empty()) {
    own.store = "s3://" + config.deco.bucket + "/" + kDecoPrefix + "?region=" + config.deco.region;
  }
  if (!path.credentials.access_key_id.empty()) own.credentials = path.credentials;
  return own;
}

Result<> refuse_shared(const std::vector<PathPlan>& plans) {
  for (const PathPlan& one : plans) {
    for (const PathPlan& other : plans) {
      if (&one == &other || one.key != other.key || one.config.store != other.config.store)
        continue;
      return Error(Code::invalid,
                   one.path + " and " + other.path + " would have one key: " + one.key);
    }
  }
  return {};
}

// What is opened, with all that it stands on.
struct Kept {
  Kept(const PathPlan& plan, const Locations& where, const Environment& variables)
      : config(plan.config), locations(where), environment(variables) {}
  Config config;
  const Locations& locations;
  const Environment& environment;
  Progress progress;
  OpenedStore opened;
};

// As open_archive() takes it. A store in the same bucket says how that is reached.
std::string archive_name(const ArchivePlace& place, const std::optional<std::string>& store) {
  const std::string bucket = "s3://" + place.bucket;
  const std::string object = bucket + "/" + percent_encoded(place.object, "/");
  const size_t query = store ? store->find('?') : std::string::npos;
  const std::string there = store ? store->substr(0, query) : "";
  const bool is_the_same = there == bucket || there.starts_with(bucket + "/");
  if (is_the_same && query != std::string::npos) return object + store->substr(query);
  return object + "?region=" + place.region;
}

Result<run::ArchiveRestored> restore_archive(const Context& context, const Kept& kept,
                                             const std::string& name, const std::string& target,
                                             RestoreMode mode) {
  THAW_ASSIGN(const OpenedArchive opened, open_archive(name, kept.config, kept.environment));
  const archive::GetRequest request{
      .source = stream_of(opened), .target = target, .mode = mode, .threads = kept.config.threads};
  THAW_ASSIGN(const archive::GetReport report, archive::get(context, request, nullptr));
  return run::ArchiveRestored{.files = report.totals.files, .bytes = report.totals.bytes};
}

Result<run::OpenedPath> open_path_of(const PathPlan& plan, const WrapWords& words,
                                     const Locations& locations, const Environment& environment,
                                     const Context& process) {
  run::OpenedPath path;
  const auto kept = std::make_shared<Kept>(plan, locations, environment);
  path.owner = kept;
  if (plan.parsed_key && plan.config.store) {
    THAW_ASSIGN(kept->opened, open_store(kept->config, locations, environment, process));
    const Session session{process,     kept->config, locations,
                          environment, kept->opened, kept->progress};
    path.store = kept->opened.store.get();
    path.restore = restore_request(session, KeyRef{*plan.parsed_key, std::nullopt}, plan.path);
    words.apply_to(*path.restore);
    path.save = save_request(session, *plan.parsed_key, plan.path);
    words.apply_to(*path.save);
  }
  if (plan.archive) {
    path.restore_archive = [kept, name = archive_name(*plan.archive, plan.config.store),
                            target = plan.path](const Context& context, RestoreMode mode) {
      return restore_archive(context, *kept, name, target, mode);
    };
  }
  return path;
}

}  // namespace

Result<std::vector<PathPlan>> plan_paths(const WrapWords& words, const Config& config) {
  THAW_ASSIGN(const std::vector<RunPath> paths, paths_of(words, config));
  THAW_CHECK(refuse_overlaps(paths, words.events()));
  std::optional<std::string> shared = words.key() ? words.key() : config.run_key;
  const bool by_deco = !shared && !config.deco.key.empty();
  if (by_deco) shared = config.deco.key;
  const auto without_key =
      std::count_if(paths.begin(), paths.end(), [](const RunPath& path) { return !path.key; });
  std::vector<PathPlan> plans;
  for (const RunPath& path : paths) {
    PathPlan plan;
    plan.path = path.path;
    plan.config = config_of(path, config);
    if (!path.key && without_key == 1 && has_archive(config.deco))
      plan.archive = ArchivePlace{config.deco.bucket, config.deco.region, config.deco.key};
    if (!path.key && !shared) return Error(Code::invalid, path.path + " has no key: name one");
    plan.key = path.key.value_or(shared.value_or(""));
    if (!path.key && without_key > 1)
      plan.key += '/' + std::filesystem::path(path.path).filename().string();
    auto key = Key::parse(plan.key);
    // The name of an archive need not be a key.
    if (!key && !(by_deco && plan.archive)) return std::move(key).error();
    if (key) plan.parsed_key = *std::move(key);
    plans.push_back(std::move(plan));
  }
  THAW_CHECK(refuse_shared(plans));
  const bool any_store = std::any_of(plans.begin(), plans.end(), [](const PathPlan& plan) {
    return plan.config.store.has_value();
  });
  if (!any_store) plans.clear();
  return plans;
}

std::vector<std::string> own_places(const std::vector<PathPlan>& plans,
                                    const Locations& locations) {
  std::vector<std::string> places{resolved_path(locations.stat_cache)};
  for (const PathPlan& plan : plans) {
    const auto store = store_place(plan.config, locations);
    if (store && store->starts_with('/')) places.push_back(*store);
  }
  return places;
}

run::OpenPath opener(std::vector<PathPlan> plans, const WrapWords& words,
                     const Locations& locations, const Environment& environment) {
  return [plans = std::move(plans), &words, &locations, &environment](
             const Context& process, size_t number) -> Result<run::OpenedPath> {
    const PathPlan& plan = plans[number];
    // COMMAND may have made a link of it since.
    THAW_CHECK(path_to_keep(plan.path));
    if (!plan.config.store) return Error(Code::invalid, "no store is named for " + plan.path);
    return open_path_of(plan, words, locations, environment, process);
  };
}

}  // namespace thaw::cli
