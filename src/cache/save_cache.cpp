#include "cache/save_cache.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/clock.h"
#include "base/log.h"
#include "cache/address.h"
#include "cache/companions.h"
#include "cache/kept_paths.h"
#include "cache/local_tree.h"
#include "cache/lookup.h"
#include "cache/single_file.h"
#include "snapshot/save.h"

namespace thaw::cache {
namespace {

class CacheSaver {
 public:
  CacheSaver(const Context& context, const Job& job, const Definition& definition)
      : context_(context), job_(job), definition_(definition) {
    record_.name = definition.name;
  }

  Record run() {
    if (const auto done = save_all(); !done) {
      record_.state = State::failed;
      record_.error = done.error();
      record_.message = done.error().text();
    }
    return std::move(record_);
  }

 private:
  Result<> save_all();
  bool skip(State state, std::string message) {
    record_.state = state;
    record_.message = std::move(message);
    return true;
  }
  Result<bool> is_there(const Address& address);
  bool nothing_to_save(const std::vector<std::string>& paths);
  Result<> find_bases(const Address& address);
  Result<> save_targets(const Address& address, const std::vector<std::string>& paths);
  Result<SaveReport> save_target(const Target& target, SaveRequest request);
  Result<SaveReport> save_tree(SaveRequest request) const;
  SaveRequest request_for(const Address& address, size_t target, const std::string& path) const;

  const Context& context_;
  const Job& job_;
  const Definition& definition_;
  Record record_;
  std::vector<Found> bases_;
  bool all_unchanged_ = true;
};

Result<> CacheSaver::save_all() {
  if (job_.may_not_write) {
    skip(State::read_only, *job_.may_not_write);
    return {};
  }
  THAW_ASSIGN(const Address address,
              Address::resolve(context_, definition_,
                               {job_.facts, job_.environment, job_.anchors.working_directory,
                                job_.all_targets}));
  record_.key_text = address.text();
  record_.scope = job_.scopes.front();
  record_.key = address.key(job_.scopes.front(), address.parts(), 0).text();
  std::vector<std::string> paths;
  for (const Target& target : definition_.targets) {
    THAW_ASSIGN(std::string path, target.path(job_.anchors));
    paths.push_back(std::move(path));
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    THAW_CHECK(
        refuse_what_is_kept(paths[i], job_.protected_paths).within(definition_.targets[i].text()));
  }
  if (nothing_to_save(paths)) return {};
  THAW_ASSIGN(const bool there, is_there(address));
  if (there && !job_.force) return {};
  // What a link leads to is saved, under the name that a restore gives it.
  for (size_t i = 0; i < paths.size(); ++i) {
    THAW_ASSIGN(paths[i], definition_.targets[i].resolved_path(job_.anchors));
  }
  THAW_CHECK(find_bases(address));
  THAW_CHECK(save_targets(address, paths));
  record_.state = all_unchanged_ ? State::unchanged : State::saved;
  return {};
}

// A cache of which a part is missing would never be found whole.
bool CacheSaver::nothing_to_save(const std::vector<std::string>& paths) {
  bool any = false;
  for (size_t i = 0; i < paths.size(); ++i) {
    std::error_code fault;
    if (!std::filesystem::exists(paths[i], fault))
      return skip(State::empty, definition_.targets[i].text() + " is not there");
    any = any || holds_anything(paths[i]);
  }
  return any ? false : skip(State::empty, "there is nothing in its target paths");
}

Result<bool> CacheSaver::is_there(const Address& address) {
  for (const std::string& scope : job_.scopes) {
    auto found = look_up(context_, job_.store, address, {scope, address.parts()}, nullptr);
    // What cannot be read is superseded by what is saved now.
    if (!found && found.error().code() == Code::corrupt) continue;
    THAW_ASSIGN(const auto there, std::move(found));
    if (!there) continue;
    // An older save stands in for a newest one that leads nowhere; a new one is better.
    if (!there->newest && scope == job_.scopes.front()) continue;
    if (job_.force) return true;
    record_.state = State::exists;
    record_.scope = scope;
    record_.key = there->entries.front().key;
    record_.generation = there->entries.front().generation;
    record_.created_ns = there->entries.front().created_ns;
    for (const Entry& entry : there->entries) {
      record_.bytes += entry.totals.bytes;
      record_.files += entry.totals.files;
    }
    return true;
  }
  return false;
}

// The newest saves under the shortest key: a branch's first save shares with main's last, and what
// a changed file made another key of with what was there before.
Result<> CacheSaver::find_bases(const Address& address) {
  // The first target of the own scope is published under that key, and the engine looks there; so
  // it does for the others where no part falls away.
  const bool own_needed = address.targets() > 1 && address.required_parts() < address.parts();
  for (size_t i = own_needed ? 0 : 1; i < job_.scopes.size(); ++i) {
    auto found =
        look_up(context_, job_.store, address, {job_.scopes[i], address.required_parts()}, nullptr);
    if (!found && found.error().code() == Code::corrupt) continue;
    THAW_ASSIGN(auto base, std::move(found));
    if (base) bases_.push_back(*std::move(base));
  }
  return {};
}

SaveRequest CacheSaver::request_for(const Address& address, size_t target,
                                    const std::string& path) const {
  const std::string& scope = job_.scopes.front();
  // The first target's entry leads to the others: shorter keys need no more.
  std::vector<Key> also;
  for (size_t parts = address.parts(); target == 0 && parts-- > address.required_parts();)
    also.push_back(address.key(scope, parts, target));
  std::vector<KeyRef> bases;
  for (const Found& base : bases_) {
    const bool is_destination = target == 0 && base.scope == scope;
    if (!is_destination) bases.push_back(ref_of(base.entries[target]));
  }
  // Another key is another content: no newest generation of a shorter one says how much is enough.
  Policy policy;
  policy.allow_empty = policy.allow_shrink = true;
  return {.key = address.key(scope, address.parts(), target),
          .path = path,
          .also = std::move(also),
          .bases = std::move(bases),
          .labels = {{"cache", definition_.name},
                     {"cache.key", address.text()},
                     {kTargetLabel, kDirectoryTarget}},
          .skip = job_.skip,
          .policy = policy,
          .stat_cache_dir = job_.stat_cache_dir,
          .damage_dir = job_.damage_dir,
          .compression_level = job_.compression_level,
          .threads = job_.threads,
          .distance = job_.distance};
}

Result<SaveReport> CacheSaver::save_tree(SaveRequest request) const {
  auto report = save(context_, job_.store, request, nullptr);
  const bool base_gone =
      !report && report.error().code() == Code::not_found && !request.bases.empty();
  if (!base_gone) return report;
  // Removed a moment ago; nothing was stored yet.
  request.bases.clear();
  return save(context_, job_.store, request, nullptr);
}

// The first target comes last: all that its entry names is there by then, wherever a save ends.
Result<> CacheSaver::save_targets(const Address& address, const std::vector<std::string>& paths) {
  Companions companions{address.digest(address.parts()), {}};
  for (size_t i = 1; i < paths.size(); ++i) {
    THAW_ASSIGN(const SaveReport report,
                save_target(definition_.targets[i], request_for(address, i, paths[i])));
    companions.targets.push_back({report.generation, report.ids.snapshot});
  }
  SaveRequest record = request_for(address, 0, paths.front());
  add_companions(companions, record.labels);
  // The same tree beside other companions is another record.
  record.labels_matter = !companions.targets.empty();
  THAW_ASSIGN(const SaveReport report, save_target(definition_.targets.front(), std::move(record)));
  record_.generation = report.generation;
  record_.created_ns = system_clock().now().ns;
  return {};
}

Result<SaveReport> CacheSaver::save_target(const Target& target, SaveRequest request) {
  std::optional<FileStage> stage;
  std::error_code fault;
  if (std::filesystem::is_regular_file(request.path, fault)) {
    THAW_ASSIGN(FileStage made, stage_with(context_, request.path, target.name()));
    stage.emplace(std::move(made));
    request.path = stage->tree;
    request.labels[kTargetLabel] = kFileTarget;
    // Its folder is another one each time.
    request.stat_cache_dir.reset();
  }
  auto saved = save_tree(std::move(request));
  THAW_ASSIGN(SaveReport report, std::move(saved).within(target.text()));
  all_unchanged_ = all_unchanged_ && report.outcome == SaveOutcome::unchanged;
  record_.bytes += report.totals.bytes;
  record_.files += report.totals.files;
  record_.moved_bytes += report.new_bytes;
  return report;
}

}  // namespace

Record save_cache(const Context& context, const Job& job, const Definition& definition) {
  return CacheSaver(context, job, definition).run();
}

}  // namespace thaw::cache
