#include "snapshot/restore.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/log.h"
#include "snapshot/catalog.h"
#include "snapshot/in_place.h"
#include "snapshot/known_damage.h"
#include "snapshot/mounts.h"
#include "snapshot/presence.h"
#include "snapshot/stage.h"
#include "snapshot/stat_cache.h"
#include "snapshot/tree_writer.h"

namespace thaw {
namespace {

bool is_at_or_below(const std::string& path, const std::string& folder) {
  if (folder == "/") return true;
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

// Absolute, with the links of its longest existing part resolved.
std::string resolved(const std::string& path) {
  std::error_code fault;
  const auto real = std::filesystem::weakly_canonical(path, fault);
  std::string text = fault ? path : real.string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

// One restore, step by step.
class Restorer {
 public:
  Restorer(const Context& context, ObjectStore& store, const RestoreRequest& request,
           Progress* progress, RestoreTrace& trace)
      : context_(context),
        store_(store),
        request_(request),
        progress_(progress),
        trace_(trace),
        report_{.key = request.ref.key} {}

  Result<RestoreReport> run() {
    if (progress_ != nullptr) progress_->begin("looking up", 0, 0);
    THAW_CHECK(refuse_protected_target());
    THAW_ASSIGN(const Entry entry, find());
    const Presence presence(context_, store_, entry);
    THAW_CHECK(load(entry));
    THAW_CHECK(check_ids(entry));
    // Only now: a miss or a broken snapshot makes not even the target's parents.
    THAW_CHECK(locate());
    report_.totals = entry.totals;
    report_.stored_bytes = entry.stored_bytes;
    const bool whole = request_.mode == RestoreMode::replace || !target_.exists;
    auto done = whole ? replace() : in_place();
    if (!done) {
      remove_made_parents(target_);
      return not_of_the_caller(std::move(done).error());
    }
    return report_;
  }

 private:
  Result<> load(const Entry& entry) {
    auto manifest = load_manifest(context_, store_, entry);
    const auto* at = std::get_if<ManifestRef>(&entry.manifest);
    if (!manifest && manifest.error().code() == Code::corrupt && at != nullptr) {
      KnownDamage(request_.damage_dir).remember(at->id);
    }
    THAW_ASSIGN(manifest_, std::move(manifest));
    return {};
  }

  // not_found is for keys, and a miss: here nothing can be made where the target should be.
  Result<> locate() {
    auto place = locate_target(request_.target);
    if (!place && place.error().code() == Code::not_found)
      return Error(Code::denied, place.error().text());
    THAW_ASSIGN(target_, std::move(place));
    return {};
  }

  // From here on no error is one of the caller's words: a path is not what it was a moment ago, or
  // the filesystem takes a name or an attribute for wrong.
  static Error not_of_the_caller(Error error) {
    if (error.code() == Code::not_found) return {Code::busy, error.text()};
    if (error.code() == Code::invalid) return {Code::internal, error.text()};
    return error;
  }

  // What is mounted in a tree would go with it.
  Result<> refuse_mounts_in_target() const {
    if (!target_.exists) return {};
    const std::vector<std::string> mounts = mounts_below(target_.path);
    if (mounts.empty()) return {};
    return Error(Code::busy, target_.path + "/" + mounts.front() +
                                 " is a mount point in what is to be replaced: unmount it, or "
                                 "restore to another directory");
  }

  Result<> refuse_protected_target() const {
    const std::string target = resolved(request_.target);
    for (const ProtectedPath& each : request_.protected_paths) {
      const std::string path = resolved(each.path);
      if (each.nor_inside && is_at_or_below(target, path)) {
        return Error(Code::invalid, request_.target + " lies in " + each.what + " (" + each.path +
                                        "): nothing is restored there");
      }
      if (request_.mode == RestoreMode::merge || !is_at_or_below(path, target)) continue;
      return Error(
          Code::invalid,
          request_.target + " is, or holds, " + each.what + " (" + each.path +
              "): it is never replaced as a whole; use --mode merge, or another directory");
    }
    return {};
  }

  // The marker tells whether the store is one that this build can read; so does each entry. Across
  // a network only a miss is worth the round trip: a newer store may keep its entries elsewhere.
  Result<Entry> find() {
    bool checked = false;
    if (request_.distance == StoreDistance::local) {
      THAW_ASSIGN(const StoreState state, find_store(context_, store_));
      if (state == StoreState::absent) return missing();
      checked = true;
    }
    THAW_ASSIGN(auto exact, find_entry(context_, store_, request_.ref));
    if (exact) return found(Hit::exact, *std::move(exact));
    for (const Key& key : request_.fallbacks) {
      THAW_ASSIGN(auto other, find_newest(context_, store_, key));
      if (other) return found(Hit::fallback, *std::move(other));
    }
    if (!checked) THAW_CHECK(check_store(context_, store_));
    return missing();
  }

  Error missing() const {
    return {Code::not_found, "no snapshot of " + request_.ref.text() +
                                 (request_.fallbacks.empty() ? "" : " or its fallbacks")};
  }

  Result<Entry> found(Hit hit, Entry entry) {
    report_.hit = hit;
    THAW_ASSIGN(report_.key, Key::parse(entry.key));
    report_.generation = entry.generation;
    report_.ids = entry.ids;
    return entry;
  }

  // The manifest is the entry's by its digest; that it is also the tree that the entry names is the
  // saver's word, checked here because it costs a few milliseconds.
  Result<> check_ids(const Entry& entry) const {
    if (ids_of(manifest_.tree) == entry.ids) return {};
    return Error(Code::corrupt, "the manifest of " + entry.key + "@" +
                                    std::to_string(entry.generation) +
                                    " holds another tree than its entry says");
  }

  WriteOptions write_options(bool record_stats) const {
    WriteOptions options;
    options.owners = request_.owners;
    options.xattrs = request_.xattrs;
    options.record_stats = record_stats;
    options.threads = request_.threads;
    options.distance = request_.distance;
    options.progress = progress_;
    options.damage_dir = request_.damage_dir;
    return options;
  }

  void take(const WriteTotals& totals) {
    report_.fetched_bytes = totals.fetched_bytes;
    report_.fetches = totals.fetches;
    report_.written = totals.written;
    report_.attributes_skipped = totals.attributes_skipped;
  }

  Result<> in_place() {
    report_.placement = Placement::in_place;
    trace_.placement = Placement::in_place;
    THAW_ASSIGN(const InPlaceTotals totals, restore_in_place(context_, store_, manifest_, target_,
                                                             request_, progress_, trace_.applied));
    take(totals.written);
    report_.removed = totals.removed;
    return {};
  }

  // Beside the target where that is possible: only there can the whole change in one step.
  Result<Stage> make_stage(bool& inside) {
    if (!target_.is_mount_point) {
      auto beside = Stage::make(context_, target_.parent);
      if (beside || !target_.exists || beside.error().code() != Code::denied) return beside;
      log::info("staging inside {}: {}", target_.path, beside.error().text());
    }
    inside = true;
    return Stage::make(context_, target_.path);
  }

  Result<> replace() {
    THAW_CHECK(refuse_mounts_in_target());
    struct stat before {};
    const bool known = target_.exists && ::stat(target_.path.c_str(), &before) == 0;
    bool inside = false;
    auto done = replace_from_stage(inside);
    if (!done && trace_.applied && !trace_.placement) trace_.placement = Placement::child_by_child;
    // Nothing was changed but for the stage, which is gone again.
    if (!done && inside && known && !trace_.applied) {
      const struct timespec times[2] = {{0, UTIME_OMIT}, before.st_mtim};
      if (::utimensat(AT_FDCWD, target_.path.c_str(), times, 0) != 0)
        log::warn("the time of {} was not set back", target_.path);
    }
    return done;
  }

  Result<> replace_from_stage(bool& inside) {
    THAW_ASSIGN(Stage stage, make_stage(inside));
    if (progress_ != nullptr)
      progress_->begin("restoring", report_.totals.bytes, report_.totals.files);
    if (::mkdirat(stage.fd(), "tree", 0700) != 0)
      return errno_error(errno, "create a folder in the stage");
    THAW_ASSIGN(const UniqueFd folder, open_at(stage.fd(), "tree", O_RDONLY | O_DIRECTORY));
    const bool record_stats = request_.stat_cache_dir && stat_cache_works_on(folder.get());
    TreeWriter writer(manifest_, folder.get(), Naming::tree, write_options(record_stats));
    THAW_ASSIGN(
        const WriteTotals totals,
        writer.write(context_, store_, std::vector<uint8_t>(manifest_.tree.nodes.size(), 1)));
    take(totals);
    if (record_stats) wait_for_past(writer.stats());
    // A folder that moves to another parent must be writable to its owner.
    const uint32_t mode = manifest_.tree.nodes[0].mode & 07777U;
    const bool opened = (mode & 0200U) == 0;
    if (opened && ::fchmod(folder.get(), mode | 0200U) != 0)
      return errno_error(errno, "change the stage's mode");
    THAW_CHECK(refuse_mounts_in_target());  // again: fetching may have taken long
    if (inside) trace_.placement = Placement::child_by_child;
    THAW_ASSIGN(report_.placement, take_place(context_, stage, "tree", target_, trace_.applied));
    trace_ = {report_.placement, true};
    if (record_stats) remember_files(writer.stats());
    if (progress_ != nullptr) progress_->begin("removing the old tree", 0, 0);
    // The new tree is in place: whatever happens to the old one now is no failure.
    const auto removed = stage.remove(context_);
    if (!removed)
      log::warn("a staging folder stays until the next restore: {}", removed.error().text());
    if (opened || report_.placement == Placement::child_by_child) THAW_CHECK(set_root_attributes());
    return {};
  }

  Result<> set_root_attributes() {
    THAW_ASSIGN(const UniqueFd fd, open_path(target_.path, O_RDONLY | O_DIRECTORY));
    const AttributeOptions options{request_.owners, request_.xattrs, false, false};
    THAW_ASSIGN(
        const uint64_t skipped,
        set_attributes(fd.get(), manifest_.tree, manifest_.tree.nodes[0], options, target_.path));
    report_.attributes_skipped += skipped;
    return {};
  }

  // Before anyone else can reach the files, the clock leaves the tick in which they were made:
  // whoever changes one later leaves another ctime.
  static void wait_for_past(const std::vector<TreeWriter::Written>& stats) {
    int64_t newest = 0;
    for (const auto& each : stats) newest = std::max(newest, each.stat.ctime_ns);
    for (int i = 0; i < 20 && !ctime_is_past(newest); ++i) ::usleep(1000);
  }

  void remember_files(const std::vector<TreeWriter::Written>& stats) {
    const Tree& tree = manifest_.tree;
    StatCache cache;
    cache.reserve(stats.size());
    for (const auto& each : stats) {
      if (!ctime_is_past(each.stat.ctime_ns)) continue;
      const Node& node = tree.nodes[each.node];
      const bool has_xattrs = request_.xattrs && node.xattrs != kNone;
      // Which of its attributes took is not known: it is read again.
      if (has_xattrs && report_.attributes_skipped != 0) continue;
      cache.add(each.stat, tree.contents[node.payload].digest,
                has_xattrs ? &tree.xattr_sets[node.xattrs] : nullptr);
    }
    const auto kept = cache.store(*request_.stat_cache_dir, target_.path);
    if (!kept) log::warn("the stat cache was not written: {}", kept.error().text());
  }

  const Context& context_;
  ObjectStore& store_;
  const RestoreRequest& request_;
  Progress* const progress_;
  RestoreTrace& trace_;
  Manifest manifest_;
  TargetPlace target_;
  RestoreReport report_;
};

}  // namespace

Result<RestoreReport> restore(const Context& context, ObjectStore& store,
                              const RestoreRequest& request, Progress* progress,
                              RestoreTrace* trace) {
  RestoreTrace unasked;
  RestoreTrace& told = trace == nullptr ? unasked : *trace;
  return Restorer(context, store, request, progress, told)
      .run()
      .within("restore " + request.ref.text());
}

}  // namespace thaw
