#include "cache/restore_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/log.h"
#include "cache/address.h"
#include "cache/kept_paths.h"
#include "cache/local_tree.h"
#include "cache/lookup.h"
#include "cache/single_file.h"
#include "snapshot/catalog.h"
#include "snapshot/last_use.h"

namespace thaw::cache {
namespace {

// Saves under one key that are found corrupt before the next key is tried.
constexpr size_t kMostCorrupt = 3;
constexpr std::chrono::milliseconds kNoteTimeout{1000};

// One restore, step by step.
class CacheRestorer {
 public:
  CacheRestorer(const Context& context, const Job& job, const Definition& definition)
      : context_(context), job_(job), definition_(definition) {
    record_.name = definition.name;
  }

  Record run() {
    if (const auto done = restore_first_found(); !done) fail(done.error());
    return std::move(record_);
  }

 private:
  Result<> restore_first_found();
  Result<bool> restore_from(const Address& address, const Place& place);
  Result<> put_targets(const Found& found);
  Result<> put_target(const Target& target, const Entry& entry);
  Result<RestoreReport> restore_tree(const Entry& entry, const std::string& path, RestoreMode mode,
                                     std::optional<std::string> stat_cache_dir) const;
  Result<> put_file(const Target& target, const Entry& entry, const std::string& path);
  void describe(const Found& found, const Address& address);
  bool retire_broken(const std::string& scope, const Error& error);
  void fail(const Error& error) {
    record_.state = State::failed;
    record_.hit.reset();
    record_.error = error;
    record_.message = error.text();
  }

  const Context& context_;
  const Job& job_;
  const Definition& definition_;
  Record record_;
  std::optional<Error> met_;    // on the way, and no reason to stop
  std::vector<KeyRef> broken_;  // the generation that is corrupt, then the record that leads there
  std::vector<KeyRef> passed_over_;  // corrupt, and still there
  bool all_equal_ = true;
};

Result<> CacheRestorer::restore_first_found() {
  THAW_ASSIGN(const Address address,
              Address::resolve(context_, definition_,
                               {job_.facts, job_.environment, job_.anchors.working_directory,
                                job_.all_targets}));
  record_.key_text = address.text();
  for (const Place& place : places_of(address, job_.scopes)) {
    THAW_ASSIGN(const bool done, restore_from(address, place));
    if (done) return {};
  }
  if (met_) return *met_;
  record_.state = State::miss;
  record_.key = address.key(job_.scopes.front(), address.parts(), 0).text();
  return {};
}

// Whether the cache was there, and is restored. What is corrupt counts as not there.
Result<bool> CacheRestorer::restore_from(const Address& address, const Place& place) {
  for (size_t attempt = 0; attempt < kMostCorrupt; ++attempt) {
    broken_.clear();
    auto found = look_up(context_, job_.store, address, place, &broken_, passed_over_);
    Result<> done;
    if (found && !*found) return false;
    if (found) {
      describe(**found, address);
      done = put_targets(**found);
      if (done) return true;
    } else {
      done = std::move(found).error();
    }
    // Removed between the two looks at it. Where a target of it is in place this is more than a
    // miss.
    const bool is_gone = done.error().code() == Code::not_found;
    if (is_gone && record_.restored.empty()) return false;
    if (!is_gone && done.error().code() != Code::corrupt) return std::move(done).error();
    met_ = done.error();
    if (is_gone || broken_.empty()) return false;
    // Who may not retire it looks past it all the same.
    if (!retire_broken(place.scope, done.error()))
      passed_over_.insert(passed_over_.end(), broken_.begin(), broken_.end());
  }
  return false;
}

void CacheRestorer::describe(const Found& found, const Address& address) {
  record_.scope = found.scope;
  record_.hit = found.parts == address.parts() ? Hit::exact : Hit::fallback;
  record_.key = found.entries.front().key;
  record_.generation = found.entries.front().generation;
  record_.created_ns = found.entries.front().created_ns;
  record_.bytes = record_.files = 0;
  for (const Entry& entry : found.entries) {
    record_.bytes += entry.totals.bytes;
    record_.files += entry.totals.files;
  }
}

Result<> CacheRestorer::put_targets(const Found& found) {
  all_equal_ = true;
  for (size_t i = 0; i < found.entries.size(); ++i) {
    const Entry& entry = found.entries[i];
    auto put = put_target(definition_.targets[i], entry);
    if (!put && put.error().code() == Code::corrupt) {
      broken_ = {ref_of(entry)};
      if (i > 0) broken_.push_back(ref_of(found.entries.front()));
    }
    if (!put) return std::move(put).within(definition_.targets[i].text());
    // Those of a save that was given up are whole, and count until this one replaces them.
    const std::string& name = definition_.targets[i].text();
    auto& restored = record_.restored;
    if (std::find(restored.begin(), restored.end(), name) == restored.end())
      restored.push_back(name);
  }
  record_.state = all_equal_ ? State::equal : State::restored;
  return {};
}

Result<> CacheRestorer::put_target(const Target& target, const Entry& entry) {
  // A link is followed, and stays.
  THAW_ASSIGN(const std::string path, target.resolved_path(job_.anchors));
  THAW_CHECK(refuse_what_is_kept(path, job_.protected_paths));
  const auto kind = entry.labels.find(kTargetLabel);
  if (kind != entry.labels.end() && kind->second == kFileTarget)
    return put_file(target, entry, path);
  RestoreMode mode = RestoreMode::replace;
  if (job_.stat_cache_dir) {
    THAW_ASSIGN(const auto here, known_ids(context_, path, *job_.stat_cache_dir, job_.threads));
    if (here && *here == entry.ids) {
      const Context noting = context_.within(kNoteTimeout);
      const auto noted = note_use(noting, job_.store, entry);
      if (!noted) log::info("the use of {} was not noted: {}", entry.key, noted.error().text());
      return {};
    }
    // No content is written then, only attributes, and these only where they differ.
    if (here && here->content == entry.ids.content) mode = RestoreMode::sync;
  }
  all_equal_ = false;
  std::error_code fault;
  // Of another kind than what is restored.
  if (std::filesystem::is_regular_file(std::filesystem::symlink_status(path, fault)))
    return Error(Code::denied, path + " is a file, and a directory is to be restored there");
  THAW_ASSIGN(const RestoreReport report, restore_tree(entry, path, mode, job_.stat_cache_dir));
  record_.moved_bytes += report.fetched_bytes;
  return {};
}

Result<RestoreReport> CacheRestorer::restore_tree(const Entry& entry, const std::string& path,
                                                  RestoreMode mode,
                                                  std::optional<std::string> stat_cache_dir) const {
  const RestoreRequest request{.ref = ref_of(entry),
                               .target = path,
                               .mode = mode,
                               .protected_paths = job_.protected_paths,
                               .stat_cache_dir = std::move(stat_cache_dir),
                               .damage_dir = job_.damage_dir,
                               .threads = job_.threads,
                               .distance = job_.distance};
  return restore(context_, job_.store, request, nullptr);
}

Result<> CacheRestorer::put_file(const Target& target, const Entry& entry,
                                 const std::string& path) {
  all_equal_ = false;
  std::error_code fault;
  if (std::filesystem::is_directory(std::filesystem::symlink_status(path, fault)))
    return Error(Code::denied, path + " is a directory, and a file is to be restored there");
  THAW_ASSIGN(const FileStage stage, stage_for(context_, path));
  // Its folder is another one each time: what the stat cache would keep of it nobody would look
  // for.
  THAW_ASSIGN(const RestoreReport report,
              restore_tree(entry, stage.tree, RestoreMode::merge, std::nullopt));
  record_.moved_bytes += report.fetched_bytes;
  return put_in_place(stage, target.name(), path);
}

// Whether the save is out of the way now. Precondition: something is broken.
bool CacheRestorer::retire_broken(const std::string& scope, const Error& error) {
  log::warn("cache {}: {} is corrupt: {}", definition_.name, broken_.front().text(), error.text());
  if (scope != job_.scopes.front() || job_.may_not_write) return false;
  // What is damaged may be the store's marker, and no entry of it.
  if (!check_store(context_, job_.store)) return false;
  // The corrupt one first: a record that leads nowhere is none, should this end here.
  for (const KeyRef& ref : broken_) {
    const auto retired = retire(context_, job_.store, ref.key, *ref.generation);
    if (!retired) {
      log::warn("{} was not retired: {}", ref.text(), retired.error().text());
      return false;
    }
    record_.retired.push_back(ref.text());
  }
  return true;
}

}  // namespace

Record restore_cache(const Context& context, const Job& job, const Definition& definition) {
  return CacheRestorer(context, job, definition).run();
}

}  // namespace thaw::cache
