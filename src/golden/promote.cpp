#include "golden/promote.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/beneath.h"
#include "base/log.h"
#include "golden/copy_tree.h"
#include "golden/processes.h"
#include "golden/recover.h"
#include "golden/scrub.h"
#include "golden/subvolume.h"
#include "golden/walk.h"
#include "snapshot/glob.h"
#include "snapshot/mounts.h"
#include "snapshot/stage.h"

namespace thaw::golden {
namespace {

constexpr size_t kNamedFiles = 5;

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

// rename(2) works within one mount, and not on what something is mounted on.
bool same_mount(const std::string& a, const std::string& b) {
  struct statx first {};
  struct statx second {};
  constexpr unsigned kMask = STATX_BASIC_STATS | STATX_MNT_ID;
  if (::statx(AT_FDCWD, a.c_str(), 0, kMask, &first) != 0) return false;
  if (::statx(AT_FDCWD, b.c_str(), 0, kMask, &second) != 0) return false;
  // Within one mount each subvolume has a device number of its own.
  if ((first.stx_mask & second.stx_mask & STATX_MNT_ID) != 0)
    return first.stx_mnt_id == second.stx_mnt_id;
  return first.stx_dev_major == second.stx_dev_major && first.stx_dev_minor == second.stx_dev_minor;
}

class Promotion {
 public:
  // `made` may be null.
  Promotion(const Root& root, const PromoteRequest& request, const WorkFolder* made,
            const WallClock& clock, Progress* progress)
      : root_(root),
        request_(request),
        made_(made),
        clock_(clock),
        progress_(progress),
        place_(root, request.name) {}

  Result<PromoteReport> run(const Context& context);

 private:
  Result<> check_words();
  Result<> check_directory();
  Result<> check_writers() const;
  Result<> look(const Context& context);
  Result<> be_quiet(const Context& context);
  Result<> check_generation(const Pointer& pointer) const;
  enum class Look { first, locked };
  Result<> judge(const Pointer& pointer, Look look);
  Result<> look_at_success_file();
  Result<> clean(const Context& context, const std::string& tree);
  Result<> choose_transfer();
  Result<> copy(const Context& context, const WorkFolder& folder);
  Result<> work_in(const Context& context, const WorkFolder& folder);
  Result<> sync(const WorkFolder& folder) const;
  Result<> switch_to(const Context& context, const WorkFolder& folder);
  Result<> bring(const WorkFolder& folder);
  Result<> take_success_file();
  void give_back(const WorkFolder& folder, uint64_t generation);
  bool refused() const { return report_.refusal.has_value(); }

  const Root& root_;
  const PromoteRequest& request_;
  const WorkFolder* made_;
  const WallClock& clock_;
  Progress* progress_;
  const Place place_;
  std::string path_;  // the directory, without links
  Measure measure_;
  std::optional<TreeTotals> success_file_in_it_;  // what of the measure will be removed
  std::string success_path_;                      // below the directory, where it lies there
  bool stamp_is_new_ = false;
  bool success_file_is_taken_ = false;
  bool cannot_move_ = false;  // rename(2) said so
  bool stays_ = false;        // the work folder holds what must not be removed
  PromoteReport report_;
};

Result<> Promotion::check_words() {
  for (const std::string& glob : request_.scrub) THAW_CHECK(check_glob(glob));
  if (made_ != nullptr) {
    path_ = place_.path_of(made_->entry()) + "/tree";
    return {};
  }
  THAW_ASSIGN(path_, real_path(request_.path));
  THAW_CHECK(check_unprotected(path_, request_.protected_paths, "promoted"));
  return check_apart(root_, path_, "the directory");
}

Result<> Promotion::check_directory() {
  THAW_ASSIGN(const UniqueFd folder, open_path(path_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  const auto mounts = mounts_below(path_);
  if (!mounts.empty())
    return Error(Code::busy, "something is mounted on " + path_ + "/" + mounts.front());
  if (!request_.stamp) return {};
  auto stamp = open_parent_beneath(folder.get(), *request_.stamp);
  if (!stamp) return std::move(stamp).error().within("the stamp's folder, for " + *request_.stamp);
  struct stat status {};
  stamp_is_new_ =
      ::fstatat(stamp->folder.get(), stamp->name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0;
  if (!stamp_is_new_ && !S_ISREG(status.st_mode))
    return Error(Code::invalid, "the stamp " + *request_.stamp + " is there, and no regular file");
  return {};
}

Result<> Promotion::check_writers() const {
  const auto writers = writers_below(path_, kNamedFiles);
  if (writers.empty()) return {};
  std::string files;
  for (const OpenFile& each : writers) files += (files.empty() ? "" : ", ") + each.path;
  return Error(Code::busy,
               fmt::format("{} is being written: {} by {}", path_, files, text_of(writers)));
}

Result<> Promotion::look(const Context& context) {
  if (progress_ != nullptr) progress_->begin("scanning", 0, 0);
  THAW_ASSIGN(measure_, measure(context, path_, request_.threads));
  if (measure_.foreign.empty()) return {};
  return Error(Code::busy, fmt::format("{}/{} is a filesystem or a subvolume of its own: it is not "
                                       "promoted with the rest",
                                       path_, measure_.foreign));
}

// No change within the window: two looks, at its two ends, see any that leaves a trace.
Result<> Promotion::be_quiet(const Context& context) {
  if (!request_.quiesce) return {};
  const uint64_t before = measure_.fingerprint;
  if (progress_ != nullptr) progress_->begin("waiting for quiet", 0, 0);
  THAW_CHECK(pause(context, *request_.quiesce));
  THAW_CHECK(look(context));
  if (measure_.fingerprint != before) {
    return Error(Code::busy, fmt::format("{} changed within {} ms: something still writes there",
                                         path_, request_.quiesce->count()));
  }
  return check_writers();
}

Result<> Promotion::check_generation(const Pointer& pointer) const {
  if (!request_.if_generation || *request_.if_generation == pointer.current) return {};
  return Error(Code::exists,
               fmt::format("{} is at generation {}, not {}: another promotion came first",
                           request_.name.text(), pointer.current, *request_.if_generation));
}

// By what will be in the generation, which the success file is not.
Result<> Promotion::judge(const Pointer& pointer, Look look) {
  TreeTotals totals = measure_.totals;
  if (success_file_in_it_) {
    totals.files -= std::min(totals.files, success_file_in_it_->files);
    totals.bytes -= std::min(totals.bytes, success_file_in_it_->bytes);
  }
  std::optional<TreeTotals> newest;
  if (pointer.current != 0) {
    auto current = place_.description(pointer.current);
    // Before the lock is held it may be removed at any moment: it is asked once more then.
    const bool may_go =
        look == Look::first && !current && current.error().code() == Code::not_found;
    if (!current && !may_go) return std::move(current).error();
    if (current) newest = current->totals;
  }
  const auto verdict = request_.policy.judge(totals, newest, 0);
  if (verdict == Refused::empty) {
    report_.refusal = {"empty", path_ + " has nothing but directories in it: not promoted",
                       "--allow-empty promotes it all the same"};
  } else if (verdict == Refused::shrunken) {
    report_.refusal = {
        "shrunken",
        fmt::format("{} has {} bytes, far less than generation {} ({}): not promoted", path_,
                    totals.bytes, pointer.current, newest->bytes),
        "--allow-shrink promotes it all the same"};
  }
  if (stamp_is_new_) ++totals.files;
  report_.description.totals = totals;
  report_.description.overlay_marks = measure_.overlay_marks;
  report_.linked_outside = report_.transfer == Transfer::moved ? measure_.linked_outside : 0;
  return {};
}

Result<> Promotion::look_at_success_file() {
  if (!request_.success_file) return {};
  const std::string& file = *request_.success_file;
  struct stat status {};
  if (::lstat(file.c_str(), &status) != 0) {
    report_.refusal = {"unfinished", errno_error(errno, "look at the success file " + file).text(),
                       "the session writes it when all went well"};
    return {};
  }
  constexpr int64_t kSecondNs = 1'000'000'000;
  const int64_t written_ns = status.st_mtim.tv_sec * kSecondNs + status.st_mtim.tv_nsec;
  if (!S_ISREG(status.st_mode) ||
      (request_.started_at_ns && written_ns <= *request_.started_at_ns)) {
    report_.refusal = {"unfinished", "the success file " + file +
                                         (S_ISREG(status.st_mode) ? " is older than the session"
                                                                  : " is no regular file")};
    return {};
  }
  const size_t slash = file.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : file.substr(0, slash + 1);
  THAW_ASSIGN(const std::string real, real_path(folder));
  if (is_at_or_below(real, root_.path) && !is_at_or_below(real, path_))
    return Error(Code::invalid, "the success file " + file + " lies in the golden root");
  if (!is_at_or_below(real, path_)) return {};
  success_path_ =
      real.substr(path_.size()) + "/" + file.substr(slash == std::string::npos ? 0 : slash + 1);
  TreeTotals& part = success_file_in_it_.emplace();
  part.files = 1;
  if (status.st_nlink == 1) part.bytes = static_cast<uint64_t>(status.st_size);
  return {};
}

Result<> Promotion::take_success_file() {
  if (!request_.success_file || success_file_is_taken_) return {};
  // What --scrub removed needs no second removal.
  success_file_is_taken_ =
      ::unlink(request_.success_file->c_str()) == 0 || (errno == ENOENT && report_.scrubbed > 0);
  if (success_file_is_taken_) return {};
  report_.refusal = {"unfinished",
                     errno_error(errno, "remove the success file " + *request_.success_file).text(),
                     "one that stays would promote an unfinished build the next time"};
  return {};
}

Result<> Promotion::clean(const Context& context, const std::string& tree) {
  THAW_ASSIGN(report_.scrubbed,
              scrub(context, tree, Globs(request_.scrub), request_.threads).within("scrub"));
  bool changed = report_.scrubbed > 0;
  // The copy has a success file of its own.
  if (success_file_in_it_ && report_.transfer == Transfer::copied) {
    if (::unlink((tree + success_path_).c_str()) != 0 && errno != ENOENT)
      return errno_error(errno, "remove the copied success file");
    success_file_in_it_.reset();
    changed = true;
  }
  if (!changed) return {};
  THAW_ASSIGN(measure_, measure(context, tree, request_.threads));
  return {};
}

Result<> Promotion::choose_transfer() {
  if (made_ != nullptr) {
    report_.transfer = Transfer::made;
    return {};
  }
  THAW_ASSIGN(const bool is_mount, is_mount_root(AT_FDCWD, path_, 0));
  if (is_mount) {
    report_.why_copied = path_ + " is a mount point";
  } else if (!same_mount(path_, place_.path())) {
    report_.why_copied = path_ + " is on another filesystem or mount than the golden root";
  } else if (is_on_btrfs(place_.path()) && !subvolume_at(path_)) {
    report_.why_copied = "goldens on btrfs are subvolumes, and " + path_ + " is a plain folder";
  } else {
    return {};
  }
  report_.transfer = Transfer::copied;
  return {};
}

Result<> Promotion::copy(const Context& context, const WorkFolder& folder) {
  if (progress_ != nullptr)
    progress_->begin("copying", measure_.totals.bytes, measure_.totals.files);
  THAW_CHECK(folder.make_tree());
  THAW_ASSIGN(const UniqueFd from, open_path(path_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  THAW_ASSIGN(const UniqueFd to, open_at(folder.fd(), "tree", O_RDONLY | O_DIRECTORY));
  THAW_ASSIGN(const CopyReport copied,
              copy_tree(context, from.get(), to.get(), path_,
                        {.threads = request_.threads, .progress = progress_}));
  report_.attributes_skipped = copied.attributes_skipped;
  measure_.totals = copied.totals;
  return {};
}

// What was written into the directory may lie in memory alone until now.
Result<> Promotion::sync(const WorkFolder& folder) const {
  const std::string& what =
      report_.transfer == Transfer::moved ? path_ : place_.path_of(folder.entry());
  THAW_ASSIGN(const UniqueFd fd, open_path(what, O_RDONLY | O_DIRECTORY));
  if (::syncfs(fd.get()) != 0) return errno_error(errno, "sync " + what);
  return {};
}

// Under the lock, and never longer for a larger tree.
Result<> Promotion::switch_to(const Context& context, const WorkFolder& folder) {
  THAW_ASSIGN(const Lock lock, lock_file(context, place_.lock_path(), Share::exclusive));
  THAW_CHECK(complete_interrupted(place_));
  THAW_ASSIGN(const Pointer pointer, place_.pointer());
  THAW_CHECK(check_generation(pointer));
  THAW_CHECK(judge(pointer, Look::locked));
  if (refused()) return {};
  THAW_CHECK(take_success_file());
  if (refused()) return {};
  report_.previous = pointer.current;
  Description& description = report_.description;
  description.generation = pointer.last + 1;
  description.created_at = clock_.now().iso8601();
  auto brought = bring(folder);
  if (brought) return {};
  // The last step may have failed after it took effect.
  const auto now = place_.pointer();
  if (now && now->current == description.generation) {
    log::warn("{}", brought.error().text());
    return {};
  }
  give_back(folder, description.generation);
  return brought;
}

Result<> Promotion::bring(const WorkFolder& folder) {
  const std::string work = place_.path_of(folder.entry());
  THAW_CHECK(replace_file(work + "/golden.json", write_description(report_.description)));
  if (report_.transfer == Transfer::moved &&
      ::rename(path_.c_str(), (work + "/tree").c_str()) != 0) {
    cannot_move_ = errno == EXDEV;
    return errno_error(errno, "move " + path_);
  }
  return bring_in(place_, folder.entry(), report_.description);
}

// After an error, while the lock is held: the directory goes where it was. Where it cannot, the
// folder stays as it is, and the next command completes the promotion.
void Promotion::give_back(const WorkFolder& folder, uint64_t generation) {
  const std::string work = place_.path_of(folder.entry());
  if (::rename(place_.path_of(generation).c_str(), work.c_str()) != 0 && errno != ENOENT)
    stays_ = true;
  if (subvolume_at(work + "/tree")) {
    const auto writable = set_read_only(work + "/tree", false);
    if (!writable) log::warn("{}", writable.error().text());
  }
  if (report_.transfer == Transfer::moved &&
      ::renameat2(AT_FDCWD, (work + "/tree").c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) !=
          0 &&
      errno != ENOENT) {
    log::error("{} could not be put back: the next command promotes it", path_);
    stays_ = true;
  }
  if (!stays_) ::unlink((work + "/golden.json").c_str());
}

Result<> Promotion::work_in(const Context& context, const WorkFolder& folder) {
  const bool copies = report_.transfer == Transfer::copied;
  const std::string tree = copies ? place_.path_of(folder.entry()) + "/tree" : path_;
  if (copies) THAW_CHECK(copy(context, folder));
  THAW_CHECK(clean(context, tree));
  THAW_CHECK(sync(folder));
  auto switched = switch_to(context, folder);
  if (!cannot_move_) return switched;
  // A folder from a lower layer of an overlayfs, as a rule: nothing tells before it is tried.
  cannot_move_ = false;
  report_.transfer = Transfer::copied;
  report_.why_copied = path_ + " cannot be moved where it lies";
  return work_in(context, folder);
}

Result<PromoteReport> Promotion::run(const Context& context) {
  THAW_CHECK(check_words());
  THAW_CHECK(place_.make());
  THAW_CHECK(recover(context, place_));
  THAW_ASSIGN(const Pointer pointer, place_.pointer());
  THAW_CHECK(check_generation(pointer));
  THAW_CHECK(check_room(root_.path, request_.min_free));
  THAW_CHECK(check_directory());
  THAW_CHECK(check_writers());
  THAW_CHECK(look(context));
  THAW_CHECK(look_at_success_file());
  if (refused()) return report_;
  THAW_CHECK(judge(pointer, Look::first));
  if (refused()) return report_;
  THAW_CHECK(be_quiet(context));
  THAW_CHECK(choose_transfer());

  Description& description = report_.description;
  description.name = request_.name.text();
  description.source = request_.source;
  description.host = host_name();
  description.stamp = request_.stamp;
  description.labels = request_.labels;
  description.snapshot = request_.snapshot;

  if (made_ != nullptr) {
    THAW_CHECK(work_in(context, *made_));
    return report_;
  }
  THAW_ASSIGN(const WorkFolder folder, WorkFolder::make(place_));
  auto done = work_in(context, folder);
  if ((!done || refused()) && !stays_) {
    const auto removed = folder.remove(Context(), place_);
    if (!removed) log::info("the next command removes it: {}", removed.error().text());
  }
  if (!done) return std::move(done).error();
  return report_;
}

}  // namespace

Result<PromoteReport> promote(const Context& context, const Root& root,
                              const PromoteRequest& request, const WallClock& clock,
                              Progress* progress) {
  return Promotion(root, request, nullptr, clock, progress)
      .run(context)
      .within("promote " + request.path);
}

Result<PromoteReport> promote_made(const Context& context, const Root& root,
                                   const PromoteRequest& request, const WorkFolder& folder,
                                   const WallClock& clock, Progress* progress) {
  return Promotion(root, request, &folder, clock, progress)
      .run(context)
      .within("promote " + request.name.text());
}

}  // namespace thaw::golden
