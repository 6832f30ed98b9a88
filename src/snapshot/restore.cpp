#include "snapshot/restore.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "snapshot/catalog.h"
#include "snapshot/in_place.h"
#include "snapshot/known_damage.h"
#include "snapshot/presence.h"
#include "snapshot/replace_target.h"
#include "snapshot/stage.h"
#include "snapshot/stat_cache.h"
#include "snapshot/tree_writer.h"

namespace thaw {
namespace {

// One restore, step by step.
class Restorer final : public NewTree {
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
    THAW_CHECK(refuse_protected_target(request_.target, request_.mode, request_.protected_paths));
    THAW_ASSIGN(const Entry entry, find());
    const Presence presence(context_, store_, entry);
    THAW_CHECK(load(entry));
    THAW_CHECK(check_ids(entry));
    // Only now: a miss or a broken snapshot makes not even the target's parents.
    THAW_ASSIGN(target_, locate_restore_target(request_.target));
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

  Result<> replace() {
    THAW_ASSIGN(report_.placement, replace_target(context_, target_, *this, progress_, trace_));
    return {};
  }

  Result<> make(int folder) override {
    if (progress_ != nullptr)
      progress_->begin("restoring", report_.totals.bytes, report_.totals.files);
    record_stats_ = request_.stat_cache_dir && stat_cache_works_on(folder);
    TreeWriter writer(manifest_, folder, Naming::tree, write_options(record_stats_));
    THAW_ASSIGN(
        const WriteTotals totals,
        writer.write(context_, store_, std::vector<uint8_t>(manifest_.tree.nodes.size(), 1)));
    take(totals);
    stats_ = writer.take_stats();
    if (record_stats_) wait_for_past(stats_);
    return {};
  }

  uint32_t root_mode() const override { return manifest_.tree.nodes[0].mode & 07777U; }

  void placed() override {
    if (record_stats_) remember_files(stats_);
  }

  Result<> set_root_attributes(int fd) override {
    const AttributeOptions options{request_.owners, request_.xattrs, false, false};
    THAW_ASSIGN(const uint64_t skipped,
                set_attributes(fd, manifest_.tree, manifest_.tree.nodes[0], options, target_.path));
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
  bool record_stats_ = false;
  std::vector<TreeWriter::Written> stats_;  // of what was made, while it is recorded
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
