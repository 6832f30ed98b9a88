#include "snapshot/in_place.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/beneath.h"
#include "base/log.h"
#include "snapshot/in_place_apply.h"
#include "snapshot/in_place_mounts.h"
#include "snapshot/in_place_plan.h"
#include "snapshot/target_lock.h"

namespace thaw {
namespace {

class InPlace {
 public:
  InPlace(const Context& context, ObjectStore& store, const Manifest& manifest,
          const TargetPlace& target, const RestoreRequest& request, Progress* progress,
          bool& applied)
      : context_(context),
        store_(store),
        manifest_(manifest),
        tree_(manifest.tree),
        target_(target),
        request_(request),
        progress_(progress),
        applied_(applied) {}

  Result<InPlaceTotals> run() {
    // Two at once would each take the other's files for what they compared.
    THAW_ASSIGN(const UniqueFd lock, lock_target(context_, target_.path));
    constexpr int kRounds = 3;
    for (int round = 1;; ++round) {
      THAW_CHECK(one_round());
      if (changed_.empty()) return totals_;
      if (request_.only_into_empty)
        return Error(Code::busy, target_.path + "/" + changed_[0] +
                                     " appeared while it was restored: it stays as it is");
      if (round == kRounds) break;
      log::info("{}/{} changed while it was restored: looked at again", target_.path, changed_[0]);
    }
    return Error(Code::busy, target_.path + "/" + changed_[0] +
                                 " changes while it is restored: looked at three times");
  }

 private:
  // Compares, and makes equal what differs. What somebody changes between these is neither touched
  // nor recorded: it is left for another round.
  Result<> one_round() {
    begin_round();
    if (progress_ != nullptr) progress_->begin("comparing", 0, 0);
    THAW_CHECK(look());
    auto staged = stage_all();
    // Again: fetching may have taken long.
    if (staged) staged = refuse_mounts_in_the_way(plan_, tree_, scan_, target_.path);
    if (!staged) {
      leave_as_it_was();
      return staged;
    }
    // From here on the target changes; each step leaves it usable, and a stop in between is
    // repaired by the same command again.
    applied_ = true;
    open_folders();
    // First, for whatever else happens to a file's names leaves another ctime.
    THAW_CHECK(fix_files());
    THAW_CHECK(put_in_place());
    THAW_CHECK(remove_extra());
    THAW_CHECK(remove_stage());
    THAW_CHECK(fix_folders());
    remember_files();
    return {};
  }

  void begin_round() {
    placing_.reset();
    stage_.reset();
    scan_ = Scan();
    cache_ = StatCache();
    known_ = KnownFiles();
    fixed_.clear();
    changed_.clear();
    was_staged_ = false;
  }

  Result<> look() {
    ScanOptions options;
    options.stages = Stages::skipped_at_root;
    options.sockets = Sockets::listed;
    options.threads = request_.threads;
    {
      THAW_ASSIGN(const UniqueFd place, open_path(target_.path, O_RDONLY | O_DIRECTORY));
      remove_abandoned_stages(context_, place.get());
    }
    THAW_ASSIGN(scan_, scan_tree(context_, target_.path, options));
    if (request_.only_into_empty && scan_.tree.nodes.size() > 1)
      return Error(Code::busy, target_.path + "/" + scan_.tree.path(1) +
                                   " is there already: it stays as it is");
    known_.digests.resize(scan_.tree.nodes.size());
    known_.recordable.assign(scan_.tree.nodes.size(), 0);
    use_cache_ = request_.stat_cache_dir && stat_cache_works_on(scan_.root.get());
    if (use_cache_) recall();
    CompareOptions compare;
    compare.remove_extra = request_.mode == RestoreMode::sync;
    compare.owners = request_.owners;
    compare.xattrs = request_.xattrs;
    compare.threads = request_.threads;
    THAW_ASSIGN(plan_, plan_in_place(context_, manifest_, scan_, target_.path, known_, compare));
    return refuse_mounts_in_the_way(plan_, tree_, scan_, target_.path);
  }

  void recall() {
    cache_ = StatCache::load(*request_.stat_cache_dir, target_.path);
    for (uint32_t j = 0; j < scan_.tree.nodes.size(); ++j) {
      Node& node = scan_.tree.nodes[j];
      if (!node.is_file() || node.is_link()) continue;
      const StatRecord* record = cache_.find(scan_.stats[j]);
      if (record == nullptr) continue;
      known_.digests[j] = record->digest;
      known_.recordable[j] = 1;
      if (const XattrSet* xattrs = cache_.xattrs_of(*record)) {
        node.xattrs = static_cast<uint32_t>(scan_.tree.xattr_sets.size());
        scan_.tree.xattr_sets.push_back(*xattrs);
      }
    }
  }

  Result<> stage_all() {
    std::vector<uint8_t> nodes(tree_.nodes.size(), 0);
    uint64_t count = 0;
    uint64_t bytes = 0;
    bool needed = false;
    for (uint32_t i = 1; i < tree_.nodes.size(); ++i) {
      const Action action = plan_.actions[i];
      needed = needed || (action != Action::none && action != Action::fix);
      if (action != Action::write) continue;
      nodes[i] = 1;
      ++count;
      if (tree_.nodes[i].is_file()) bytes += tree_.contents[tree_.nodes[i].payload].size_bytes;
    }
    if (!needed) return {};
    if (progress_ != nullptr) progress_->begin("fetching", bytes, count);
    open_folder(0);
    was_staged_ = true;
    THAW_ASSIGN(Stage stage, Stage::make(context_, target_.path));
    stage_.emplace(std::move(stage));
    WriteOptions options;
    options.owners = request_.owners;
    options.xattrs = request_.xattrs;
    options.record_stats = use_cache_;
    options.threads = request_.threads;
    options.distance = request_.distance;
    options.progress = progress_;
    options.damage_dir = request_.damage_dir;
    TreeWriter writer(manifest_, stage_->fd(), Naming::flat, options);
    if (count != 0) {
      THAW_ASSIGN(const WriteTotals written, writer.write(context_, store_, nodes));
      totals_.written.fetched_bytes += written.fetched_bytes;
      totals_.written.fetches += written.fetches;
      totals_.written.written += written.written;
      totals_.written.attributes_skipped += written.attributes_skipped;
    }
    placing_.emplace(tree_, scan_, plan_, *stage_, target_.path, writer.take_stats());
    THAW_ASSIGN(const uint64_t made, placing_->assemble(context_));
    totals_.written.written += made;
    return {};
  }

  // Lets its owner change what is in a folder whose mode forbids that; its mode is set again in the
  // end.
  void open_folder(uint32_t i) {
    const uint32_t mode = scan_.tree.nodes[plan_.scanned[i]].mode & 07777U;
    if ((mode & 0700U) == 0700U) return;
    const auto fd = open_beneath(scan_.root.get(), tree_.path(i), O_RDONLY | O_DIRECTORY);
    if (!fd || ::fchmod(fd->get(), mode | 0700U) != 0) return;  // the change itself will tell
    plan_.changed_folder[i] = 1;
  }

  void open_folders() {
    for (uint32_t i = 0; i < tree_.nodes.size(); ++i) {
      if (plan_.changed_folder[i] != 0 && plan_.scanned[i] != kNone) open_folder(i);
    }
  }

  // Nothing was changed but for the stage in the root: its time and mode are put back.
  void leave_as_it_was() {
    placing_.reset();
    stage_.reset();
    const Node& root = scan_.tree.nodes[0];
    const struct timespec times[2] = {{0, UTIME_OMIT}, timespec_of(root.mtime_ns)};
    if (::futimens(scan_.root.get(), times) != 0 ||
        ::fchmod(scan_.root.get(), root.mode & 07777U) != 0) {
      log::warn("the time or mode of {} was not set back", target_.path);
    }
  }

  Result<> put_in_place() {
    if (!placing_) return {};
    THAW_ASSIGN(const uint64_t linked, placing_->put(context_));
    totals_.written.written += linked;
    changed_.insert(changed_.end(), placing_->changed().begin(), placing_->changed().end());
    return {};
  }

  Result<> remove_extra() {
    for (const uint32_t j : plan_.extra) {
      const std::string path = scan_.tree.path(j);
      auto at = open_parent_beneath(scan_.root.get(), path);
      if (!at && says_changed(at.error())) {
        changed_.push_back(path);
        continue;
      }
      if (!at) return std::move(at).error();
      THAW_CHECK(remove_tree(context_, at->folder.get(), at->name)
                     .within("remove " + target_.path + "/" + path));
      ++totals_.removed;
    }
    return {};
  }

  // With what was in the way of another type.
  Result<> remove_stage() {
    if (!stage_) return {};
    auto removed = stage_->remove(context_);
    if (removed) return {};
    if (!plan_.in_the_way.empty()) return std::move(removed).within("remove what was replaced");
    log::warn("a staging folder stays until the next restore: {}", removed.error().text());
    return {};
  }

  // A hard link on disk has its first name's inode, and that is the one that was looked at.
  uint32_t first_on_disk(uint32_t i) const {
    const uint32_t j = plan_.scanned[i];
    const Node& node = scan_.tree.nodes[j];
    return node.is_link() ? node.link_to : j;
  }

  AttributeOptions attribute_options() const {
    return {request_.owners, request_.xattrs, false, false};
  }

  Result<> fix_files() {
    for (uint32_t i = 1; i < tree_.nodes.size(); ++i) {
      if (plan_.actions[i] != Action::fix || tree_.nodes[i].is_dir()) continue;
      THAW_CHECK(context_.alive());
      auto same = tree_.nodes[i].is_file() ? fix_file(i) : fix_special(i);
      if (!same && !says_changed(same.error())) return std::move(same).error();
      if (!same || !*same) {
        changed_.push_back(tree_.path(i));
        continue;
      }
      ++totals_.written.written;
    }
    return {};
  }

  // False when it is not the file any more whose content was looked at. To set its times then would
  // hide that from all who come later.
  Result<bool> fix_file(uint32_t i) {
    const uint32_t j = first_on_disk(i);
    THAW_ASSIGN(const UniqueFd fd,
                open_beneath(scan_.root.get(), tree_.path(i), O_RDONLY | O_NONBLOCK | O_NOCTTY));
    const ReadLease lease(fd.get());
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0 || !file_stat_of(status).same_version(scan_.stats[j])) {
      return false;
    }
    const uint64_t before = totals_.written.attributes_skipped;
    THAW_CHECK(set(fd.get(), i));
    const bool known = known_.recordable[j] != 0 && totals_.written.attributes_skipped == before;
    if (!use_cache_ || !known || ::fstat(fd.get(), &status) != 0 || !lease.unbroken()) return true;
    fixed_.push_back({i, file_stat_of(status)});
    return true;
  }

  Result<bool> fix_special(uint32_t i) {
    THAW_ASSIGN(const ParentAndName at, open_parent_beneath(scan_.root.get(), tree_.path(i)));
    struct stat status {};
    if (::fstatat(at.folder.get(), at.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !file_stat_of(status).same_version(scan_.stats[first_on_disk(i)])) {
      return false;
    }
    THAW_ASSIGN(const uint64_t skipped,
                set_attributes_of_link(at.folder.get(), at.name, tree_, tree_.nodes[i],
                                       attribute_options()));
    totals_.written.attributes_skipped += skipped;
    return true;
  }

  Result<> set(int fd, uint32_t i) {
    THAW_ASSIGN(const uint64_t skipped,
                set_attributes(fd, tree_, tree_.nodes[i], attribute_options(),
                               target_.path + "/" + tree_.path(i)));
    totals_.written.attributes_skipped += skipped;
    return {};
  }

  // Deepest first: what happens inside one changes its time.
  Result<> fix_folders() {
    for (uint32_t i = static_cast<uint32_t>(tree_.nodes.size()); i-- > 0;) {
      if (!tree_.nodes[i].is_dir()) continue;
      const bool touched = plan_.changed_folder[i] != 0 || (i == 0 && was_staged_);
      if (plan_.actions[i] == Action::none && !touched) continue;
      auto fd = open_beneath(scan_.root.get(), tree_.path(i), O_RDONLY | O_DIRECTORY);
      if (!fd && says_changed(fd.error())) {
        changed_.push_back(tree_.path(i));
        continue;
      }
      if (!fd) return std::move(fd).error();
      THAW_CHECK(set(fd->get(), i));
      if (plan_.actions[i] == Action::fix) ++totals_.written.written;
    }
    return {};
  }

  void remember_files() {
    if (!use_cache_) return;
    StatCache cache;
    cache.reserve(tree_.nodes.size());
    bool changed = false;
    for (uint32_t i = 1; i < tree_.nodes.size(); ++i) {
      const uint32_t j = plan_.scanned[i];
      const bool untouched = plan_.actions[i] == Action::none && j != kNone;
      if (!tree_.nodes[i].is_file() || tree_.nodes[i].is_link() || !untouched) continue;
      const Node& found = scan_.tree.nodes[j];
      if (found.is_link() || known_.recordable[j] == 0) continue;
      changed = changed || cache_.find(scan_.stats[j]) == nullptr;
      cache.add(scan_.stats[j], *known_.digests[j], xattrs_on_disk(j));
    }
    for (const auto& each : fixed_) {
      if (!is_still(each)) continue;
      changed = true;
      const uint32_t j = first_on_disk(each.node);
      cache.add(each.stat, digest_of_node(each.node),
                request_.xattrs ? xattrs_wanted(each.node) : xattrs_on_disk(j));
    }
    if (placing_) {
      for (const auto& [node, stat] : placing_->placed()) {
        const XattrSet* xattrs = request_.xattrs ? xattrs_wanted(node) : nullptr;
        // Which of its attributes took is not known: it is read again.
        if (xattrs != nullptr && totals_.written.attributes_skipped != 0) continue;
        if (!is_still({node, stat})) continue;
        changed = true;
        cache.add(stat, digest_of_node(node), xattrs);
      }
    }
    if (!changed && cache.size() == cache_.size()) return;
    const auto kept = cache.store(*request_.stat_cache_dir, target_.path);
    if (!kept) log::warn("the stat cache was not written: {}", kept.error().text());
  }

  const Digest& digest_of_node(uint32_t i) const {
    return tree_.contents[tree_.nodes[i].payload].digest;
  }
  const XattrSet* xattrs_wanted(uint32_t i) const {
    const uint32_t set = tree_.nodes[i].xattrs;
    return set == kNone ? nullptr : &tree_.xattr_sets[set];
  }
  const XattrSet* xattrs_on_disk(uint32_t j) const {
    const uint32_t set = scan_.tree.nodes[j].xattrs;
    return set == kNone ? nullptr : &scan_.tree.xattr_sets[set];
  }

  // Whether a file is as it was when it was put in place, and nobody can be changing it.
  bool is_still(const TreeWriter::Written& file) const {
    const auto fd =
        open_beneath(scan_.root.get(), tree_.path(file.node), O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!fd) return false;
    const ReadLease lease(fd->get());
    struct stat status {};
    return ::fstat(fd->get(), &status) == 0 && file_stat_of(status).same_version(file.stat) &&
           wait_until_past(file.stat.ctime_ns) && lease.unbroken();
  }

  // The clock's tick is a few milliseconds: the first file waits it out for all that follow.
  static bool wait_until_past(int64_t ctime_ns) {
    for (int i = 0; i < 20 && !ctime_is_past(ctime_ns); ++i) ::usleep(1000);
    return ctime_is_past(ctime_ns);
  }

  const Context& context_;
  ObjectStore& store_;
  const Manifest& manifest_;
  const Tree& tree_;
  const TargetPlace& target_;
  const RestoreRequest& request_;
  Progress* const progress_;
  bool& applied_;
  Scan scan_;
  StatCache cache_;
  bool use_cache_ = false;
  KnownFiles known_;
  InPlacePlan plan_;
  std::optional<Stage> stage_;
  std::optional<Placing> placing_;  // refers to the stage
  bool was_staged_ = false;
  std::vector<TreeWriter::Written> fixed_;  // files that got other attributes, as they were then
  std::vector<std::string> changed_;        // what somebody changes meanwhile
  InPlaceTotals totals_;
};

}  // namespace

Result<InPlaceTotals> restore_in_place(const Context& context, ObjectStore& store,
                                       const Manifest& manifest, const TargetPlace& target,
                                       const RestoreRequest& request, Progress* progress,
                                       bool& applied) {
  return InPlace(context, store, manifest, target, request, progress, applied).run();
}

}  // namespace thaw
