#include "snapshot/in_place.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>

#include "base/beneath.h"
#include "base/log.h"
#include "snapshot/in_place_mounts.h"
#include "snapshot/in_place_plan.h"

namespace thaw {
namespace {

class InPlace {
 public:
  InPlace(const Context& context, ObjectStore& store, const Manifest& manifest,
          const TargetPlace& target, const RestoreRequest& request, Progress* progress)
      : context_(context),
        store_(store),
        manifest_(manifest),
        tree_(manifest.tree),
        target_(target),
        request_(request),
        progress_(progress) {}

  Result<InPlaceTotals> run() {
    if (progress_ != nullptr) progress_->begin("comparing", 0, 0);
    THAW_CHECK(look());
    auto staged = stage_files();
    // Again: fetching may have taken long.
    if (staged) staged = refuse_mounts_in_the_way(plan_, tree_, scan_, target_.path);
    if (!staged) {
      leave_as_it_was();
      return std::move(staged).error();
    }
    open_folders();
    // From here on the target changes; each step leaves it usable, and a stop in between is
    // repaired by the same command again.
    THAW_CHECK(remove_names());
    THAW_CHECK(put_in_place());
    THAW_CHECK(fix_attributes());
    remember_files();
    return totals_;
  }

 private:
  Result<> look() {
    ScanOptions options;
    options.exclude = Globs({std::string("/") + kStagePrefix + "*"});
    options.sockets = Sockets::listed;
    options.threads = request_.threads;
    {
      THAW_ASSIGN(const UniqueFd place, open_path(target_.path, O_RDONLY | O_DIRECTORY));
      remove_abandoned_stages(context_, place.get());
    }
    THAW_ASSIGN(scan_, scan_tree(context_, target_.path, options));
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

  Result<> stage_files() {
    std::vector<uint8_t> nodes(tree_.nodes.size(), 0);
    uint64_t count = 0;
    uint64_t bytes = 0;
    bool needed = false;
    for (uint32_t i = 1; i < tree_.nodes.size(); ++i) {
      needed = needed || plan_.actions[i] == Action::link;
      if (plan_.actions[i] != Action::write) continue;
      nodes[i] = 1;
      ++count;
      if (tree_.nodes[i].is_file()) bytes += tree_.contents[tree_.nodes[i].payload].size_bytes;
    }
    if (count == 0 && !needed) return {};
    if (progress_ != nullptr) progress_->begin("fetching", bytes, count);
    open_folder(0);
    THAW_ASSIGN(Stage stage, Stage::make(context_, target_.path));
    stage_.emplace(std::move(stage));
    WriteOptions options;
    options.owners = request_.owners;
    options.xattrs = request_.xattrs;
    options.threads = request_.threads;
    options.distance = request_.distance;
    options.progress = progress_;
    options.damage_dir = request_.damage_dir;
    TreeWriter writer(manifest_, stage_->fd(), Naming::flat, options);
    THAW_ASSIGN(totals_.written, writer.write(context_, store_, nodes));
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
    stage_.reset();
    const Node& root = scan_.tree.nodes[0];
    const struct timespec times[2] = {{0, UTIME_OMIT}, timespec_of(root.mtime_ns)};
    if (::futimens(scan_.root.get(), times) != 0 ||
        ::fchmod(scan_.root.get(), root.mode & 07777U) != 0) {
      log::warn("the time or mode of {} was not set back", target_.path);
    }
  }

  Result<> remove_on_disk(uint32_t j) {
    THAW_ASSIGN(const ParentAndName at, open_parent_beneath(scan_.root.get(), scan_.tree.path(j)));
    THAW_CHECK(remove_tree(context_, at.folder.get(), at.name)
                   .within("remove " + target_.path + "/" + scan_.tree.path(j)));
    return {};
  }

  Result<> remove_names() {
    for (const uint32_t j : plan_.extra) {
      THAW_CHECK(remove_on_disk(j));
      ++totals_.removed;
    }
    for (const uint32_t j : plan_.in_the_way) THAW_CHECK(remove_on_disk(j));
    return {};
  }

  Result<> put_in_place() {
    for (uint32_t i = 1; i < tree_.nodes.size(); ++i) {
      const Action action = plan_.actions[i];
      if (action == Action::none || action == Action::fix) continue;
      THAW_CHECK(context_.alive());
      const std::string path = tree_.path(i);
      const std::string staged = std::to_string(i);
      THAW_ASSIGN(const ParentAndName at, open_parent_beneath(scan_.root.get(), path));
      if (action == Action::folder) {
        if (::mkdirat(at.folder.get(), at.name.c_str(), 0700) != 0) return failed("create", path);
        ++totals_.written.written;
        continue;
      }
      if (action == Action::link) {
        THAW_ASSIGN(const ParentAndName first,
                    open_parent_beneath(scan_.root.get(), tree_.path(tree_.nodes[i].link_to)));
        if (::linkat(first.folder.get(), first.name.c_str(), stage_->fd(), staged.c_str(), 0) !=
            0) {
          return failed("link", path);
        }
        ++totals_.written.written;
      }
      if (::renameat(stage_->fd(), staged.c_str(), at.folder.get(), at.name.c_str()) != 0) {
        // A device that only root could have made was left out.
        if (errno == ENOENT && tree_.nodes[i].is_device()) continue;
        return failed("move into place", path);
      }
    }
    return {};
  }

  Error failed(const char* what, const std::string& path) const {
    return errno_error(errno, std::string(what) + " " + target_.path + "/" + path);
  }

  Result<> fix(uint32_t i) {
    const Node& node = tree_.nodes[i];
    const std::string path = tree_.path(i);
    const std::string name = target_.path + "/" + path;
    const AttributeOptions options{request_.owners, request_.xattrs, false, false};
    Result<uint64_t> skipped = uint64_t{0};
    if (node.is_dir() || node.is_file()) {
      const int flags = node.is_dir() ? O_RDONLY | O_DIRECTORY : O_RDONLY | O_NONBLOCK;
      THAW_ASSIGN(const UniqueFd fd, open_beneath(scan_.root.get(), path, flags));
      skipped = set_attributes(fd.get(), tree_, node, options, name);
    } else {
      THAW_ASSIGN(const ParentAndName at, open_parent_beneath(scan_.root.get(), path));
      skipped = set_attributes_of_link(at.folder.get(), at.name, tree_, node, options);
    }
    if (!skipped) return std::move(skipped).error();
    totals_.written.attributes_skipped += *skipped;
    if (plan_.actions[i] == Action::fix) ++totals_.written.written;
    return {};
  }

  Result<> fix_attributes() {
    const bool staged = stage_.has_value();
    if (staged) {
      const auto removed = stage_->remove(context_);
      if (!removed)
        log::warn("a staging folder stays until the next restore: {}", removed.error().text());
    }
    for (uint32_t i = 1; i < tree_.nodes.size(); ++i) {
      if (plan_.actions[i] == Action::fix && !tree_.nodes[i].is_dir()) THAW_CHECK(fix(i));
    }
    // Folders last and deepest first: what happens inside one changes its time.
    for (uint32_t i = static_cast<uint32_t>(tree_.nodes.size()); i-- > 0;) {
      if (!tree_.nodes[i].is_dir()) continue;
      const bool touched = plan_.changed_folder[i] != 0 || (i == 0 && staged);
      if (plan_.actions[i] != Action::none || touched) THAW_CHECK(fix(i));
    }
    return {};
  }

  void remember_files() {
    if (!use_cache_) return;
    bool changed = false;
    StatCache cache;
    cache.reserve(tree_.nodes.size());
    for (uint32_t i = 1; i < tree_.nodes.size(); ++i) {
      const Node& node = tree_.nodes[i];
      if (!node.is_file() || node.is_link()) continue;
      const uint32_t j = plan_.scanned[i];
      const XattrSet* xattrs =
          node.xattrs == kNone || !request_.xattrs ? nullptr : &tree_.xattr_sets[node.xattrs];
      if (plan_.actions[i] == Action::none && j != kNone) {
        const Node& found = scan_.tree.nodes[j];
        if (found.is_link() || known_.recordable[j] == 0) continue;
        changed = changed || cache_.find(scan_.stats[j]) == nullptr;
        cache.add(scan_.stats[j], *known_.digests[j],
                  found.xattrs == kNone ? nullptr : &scan_.tree.xattr_sets[found.xattrs]);
      } else if (const auto stat = stat_if_stable(i)) {
        changed = true;
        cache.add(*stat, tree_.contents[node.payload].digest, xattrs);
      }
    }
    if (!changed && cache.size() == cache_.size()) return;
    const auto kept = cache.store(*request_.stat_cache_dir, target_.path);
    if (!kept) log::warn("the stat cache was not written: {}", kept.error().text());
  }

  // The stat of a file that was just put in place, if nobody has touched it or can be touching it.
  std::optional<FileStat> stat_if_stable(uint32_t i) {
    const auto fd = open_beneath(scan_.root.get(), tree_.path(i), O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!fd) return std::nullopt;
    const ReadLease lease(fd->get());
    struct stat status {};
    if (::fstat(fd->get(), &status) != 0) return std::nullopt;
    const FileStat stat = file_stat_of(status);
    const Node& node = tree_.nodes[i];
    const bool ours = stat.size_bytes == tree_.contents[node.payload].size_bytes &&
                      stat.mtime_ns == node.mtime_ns;
    if (!ours || !wait_until_past(stat.ctime_ns) || !lease.unbroken()) return std::nullopt;
    return stat;
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
  Scan scan_;
  StatCache cache_;
  bool use_cache_ = false;
  KnownFiles known_;
  InPlacePlan plan_;
  std::optional<Stage> stage_;
  InPlaceTotals totals_;
};

}  // namespace

Result<InPlaceTotals> restore_in_place(const Context& context, ObjectStore& store,
                                       const Manifest& manifest, const TargetPlace& target,
                                       const RestoreRequest& request, Progress* progress) {
  return InPlace(context, store, manifest, target, request, progress).run();
}

}  // namespace thaw
