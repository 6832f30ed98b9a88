#include "archive/get.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <utility>

#include "archive/disk_tree.h"
#include "archive/merge_tree.h"
#include "archive/metadata_budget.h"
#include "archive/name_table.h"
#include "archive/streams.h"
#include "archive/tar_reader.h"
#include "base/log.h"
#include "snapshot/replace_target.h"
#include "snapshot/target_lock.h"

namespace thaw::archive {
namespace {

class Getter final : public NewTree {
 public:
  Getter(const Context& context, const GetRequest& request, Progress* progress, RestoreTrace& trace)
      : context_(context), request_(request), progress_(progress), trace_(trace) {}

  Result<GetReport> run() {
    THAW_CHECK(refuse_protected_target(request_.target, request_.mode, request_.protected_paths));
    if (progress_ != nullptr) progress_->begin("unpacking", 0, 0);
    stream_.emplace(context_, request_.source);
    // Only once the archive answers: what is not there makes not even the target's parents.
    THAW_ASSIGN(reader_, TarReader::open(context_, [this](const Context& asking) {
                  return stream_->next(asking);
                }));
    THAW_ASSIGN(target_, locate_restore_target(request_.target));
    const bool whole = request_.mode == RestoreMode::replace || !target_.exists;
    auto done = whole ? replace() : in_place();
    if (!done) {
      remove_made_parents(target_);
      return not_of_the_caller(std::move(done).error());
    }
    report_.compression = stream_->compression();
    report_.fetched_bytes = stream_->fetched_bytes();
    return report_;
  }

  // The whole archive, read to its end.
  Result<> make(int folder) override {
    const DiskTreeOptions options{request_.owners, request_.xattrs, request_.threads, progress_};
    MetadataBudget budget([this] { return stream_->fetched_bytes(); });
    disk_ = std::make_unique<DiskTree>(context_, names_, budget, folder, options);
    WalkOptions how = request_.walk;
    how.xattrs = request_.xattrs;
    auto walked = walk(context_, *reader_, names_, budget, *disk_, how);
    // What was made is about to be removed.
    if (!walked) disk_->stop();
    THAW_ASSIGN(const WalkTotals totals, std::move(walked));
    const bool is_empty =
        totals.tree.files == 0 && totals.tree.others == 0 && totals.tree.dirs <= 1;
    if (totals.passed_over > 0 && is_empty)
      return Error(Code::corrupt, "nothing is left of the archive but what is passed over");
    report_.totals = totals.tree;
    report_.passed_over = totals.passed_over;
    report_.written = disk_->written();
    THAW_CHECK(disk_->set_root_attributes(folder));
    report_.attributes_skipped = disk_->attributes_skipped() + totals.attributes_dropped;
    return {};
  }

  uint32_t root_mode() const override { return disk_->root_mode(); }
  Result<> set_root_attributes(int fd) override { return disk_->set_root_attributes(fd); }
  void placed() override {}

 private:
  Result<> replace() {
    THAW_ASSIGN(report_.placement, replace_target(context_, target_, *this, progress_, trace_));
    return {};
  }

  Result<> in_place() {
    report_.placement = Placement::in_place;
    trace_.placement = Placement::in_place;
    THAW_ASSIGN(const UniqueFd lock, lock_target(context_, target_.path));
    THAW_ASSIGN(const UniqueFd target, open_path(target_.path, O_RDONLY | O_DIRECTORY));
    struct stat before {};
    if (::fstat(target.get(), &before) != 0) return errno_error(errno, "stat " + target_.path);
    // Its owner may change what is in it, whatever its mode; if that cannot be, the stage tells.
    if ((before.st_mode & 0700) != 0700 &&
        ::fchmod(target.get(), (before.st_mode & 07777) | 0700) != 0) {
      log::info("the mode of {} was not changed", target_.path);
    }
    auto done = stage_and_merge(target.get());
    // It may have been made writable for a while; where the archive says what it is like, that is
    // set last, for the stage came and went.
    if (::fchmod(target.get(), before.st_mode & 07777) != 0)
      log::warn("the mode of {} was not set back", target_.path);
    if (done && disk_->speaks_of(0)) return disk_->set_root_attributes(target.get());
    if (!done && !trace_.applied) {
      // Nothing was changed but for the stage, which is gone again.
      const struct timespec times[2] = {{0, UTIME_OMIT}, before.st_mtim};
      if (::futimens(target.get(), times) != 0)
        log::warn("the time of {} was not set back", target_.path);
    }
    return done;
  }

  Result<> stage_and_merge(int target) {
    // Inside: only there is it sure that names can move by a rename.
    THAW_ASSIGN(Stage stage, Stage::make(context_, target_.path));
    if (::mkdirat(stage.fd(), "tree", 0700) != 0)
      return errno_error(errno, "create a folder in the stage");
    THAW_ASSIGN(const UniqueFd folder, open_at(stage.fd(), "tree", O_RDONLY | O_DIRECTORY));
    THAW_CHECK(make(folder.get()));
    const MergeRequest merge{
        .names = names_,
        .speaks_of = [this](uint32_t id) { return disk_->speaks_of(id); },
        .target_name = target_.path,
        .extra = request_.mode == RestoreMode::sync ? Extra::removed : Extra::stays,
    };
    THAW_ASSIGN(const MergeTotals merged,
                merge_tree(context_, stage, folder.get(), target, merge, trace_.applied));
    report_.written = merged.placed;
    report_.removed = merged.removed;
    const auto removed = stage.remove(context_);
    if (!removed)
      log::warn("a staging folder stays until the next restore: {}", removed.error().text());
    return {};
  }

  const Context& context_;
  const GetRequest& request_;
  Progress* const progress_;
  RestoreTrace& trace_;
  std::optional<Decompressing> stream_;
  std::unique_ptr<TarReader> reader_;
  NameTable names_;
  std::unique_ptr<DiskTree> disk_;
  TargetPlace target_;
  GetReport report_;
};

}  // namespace

Result<GetReport> get(const Context& context, const GetRequest& request, Progress* progress,
                      RestoreTrace* trace) {
  RestoreTrace unasked;
  return Getter(context, request, progress, trace == nullptr ? unasked : *trace).run();
}

}  // namespace thaw::archive
